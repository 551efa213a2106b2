import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { makeApiKey } from '../../src/identity/api-key.js';
import { Client } from '../rest/support.js';
import type { TestPods } from '../support/pod.js';

export interface Member {
  readonly userId: string;
  readonly groupId: string;
  readonly client: Client;
}

/** A user of the first tenancy in a group of their own, of the same name; with nothing but what policies give it. */
export async function makeMember(pods: TestPods, name: string): Promise<Member> {
  const functions = new IdentityFunctions(pods.test.database);
  const { tenancyId } = pods.credentials;
  const { id: userId } = await functions.createUser(tenancyId, name);
  const key = makeApiKey();
  await functions.addApiKey(tenancyId, userId, key.prefix, key.digest);
  const [group] = await pods.test.sql<{ id: string }>(
    `insert into towpath.user_group (id, tenancy_id, name) values (towpath.new_ocid('group'), $1, $2) returning id`,
    [tenancyId, name],
  );
  await pods.test.sql('insert into towpath.user_group_member (tenancy_id, group_id, user_id) values ($1, $2, $3)', [
    tenancyId,
    group!.id,
    userId,
  ]);
  return { userId, groupId: group!.id, client: new Client(pods.pods[0]!.url, key.key) };
}

export async function makeCompartment(pods: TestPods, parentId: string, name: string): Promise<string> {
  const { tenancyId } = pods.credentials;
  return (await new IdentityFunctions(pods.test.database).createCompartment(tenancyId, parentId, name)).id;
}

/** Creates a policy in the root compartment, as the administrator; returns its path. */
export async function allow(admin: Client, tenancyId: string, name: string, ...statements: string[]): Promise<string> {
  const body = { compartmentId: tenancyId, name, statements };
  const { status, text, json } = await admin.call({ method: 'POST', path: '/policies', body });
  if (status !== 200) throw new Error(`createPolicy: ${status} ${text}`);
  return `/policies/${String(json!['id'])}`;
}

export const withoutIds = (text: string): string => text.replace(/ocid1\.[A-Za-z0-9.]+/g, 'ID');
