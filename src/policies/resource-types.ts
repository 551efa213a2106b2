import type { Permission } from '../identity/permission.js';

/** From the weakest on; each includes those before it. */
export const VERBS = ['inspect', 'read', 'use', 'manage'] as const;
export type Verb = (typeof VERBS)[number];

/** What a statement may give rights on: the types of permissions, and two families of them. */
export const RESOURCE_TYPES = [
  'queues',
  'queue-push',
  'queue-pull',
  'consumer-groups',
  'queue-family',
  'identity',
  'policies',
  'audit',
  'stomp-sessions',
  'all-resources',
] as const;
export type StatementType = (typeof RESOURCE_TYPES)[number];

/** Types of what is no queue, nor in one. */
const OF_NO_QUEUE: ReadonlySet<string> = new Set<StatementType>(['identity', 'policies', 'audit', 'stomp-sessions']);
/** Types of what is in no compartment. */
const OF_TENANCY: ReadonlySet<string> = new Set<StatementType>(['identity', 'audit', 'stomp-sessions']);

/**
 * Whether a statement with this verb and resource type gives a permission, of its place and condition apart.
 *
 * `queues` is the type for whoever works with queues as a whole, as in OCI: it includes their consumer groups, and
 * `manage queues` includes putting and getting too. The weaker verbs do not: somebody who may change settings need not
 * read contents.
 */
export function includes(verb: Verb, type: StatementType, permission: Permission): boolean {
  const { verb: wanted, type: wantedType } = partsOf(permission);
  return VERBS.indexOf(wanted) <= VERBS.indexOf(verb) && includesType(verb, type, wantedType);
}

function includesType(verb: Verb, type: StatementType, wanted: string): boolean {
  if (type === wanted || type === 'all-resources') return true;
  const isOfQueues = !OF_NO_QUEUE.has(wanted);
  if (type === 'queue-family') return isOfQueues;
  return type === 'queues' && isOfQueues && (verb === 'manage' || wanted === 'consumer-groups');
}

/** Whether a permission, or a resource type, is about the tenancy as a whole: it can be had nowhere else. */
export function isOfTenancy(permissionOrType: string): boolean {
  return OF_TENANCY.has(permissionOrType.slice(permissionOrType.indexOf(' ') + 1));
}

/** The verb and the resource type of a permission. */
export function partsOf(permission: Permission): { readonly verb: Verb; readonly type: string } {
  const space = permission.indexOf(' ');
  return { verb: permission.slice(0, space) as Verb, type: permission.slice(space + 1) };
}
