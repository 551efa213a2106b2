import type { Permission } from '../identity/permission.js';
import type { Condition, Statement } from './policy-syntax.js';
import { includes } from './resource-types.js';

/** What somebody wants to use: a queue, or something in a compartment that is none. */
export interface Target {
  readonly compartmentId: string;
  /** What is known of the queue that it is, or belongs to; a queue that is still to be made has no id. */
  readonly queue?: { readonly id?: string | undefined; readonly displayName?: string | undefined };
}

export interface Compartment {
  readonly id: string;
  readonly parentId: string | null;
  readonly name: string;
}

export interface PolicyStatements {
  readonly id: string;
  readonly name: string;
  readonly compartmentId: string;
  readonly statements: readonly string[];
  readonly parsed: readonly Statement[];
}

export interface UserGroup {
  readonly id: string;
  readonly name: string;
}

/** A statement with where it stands. */
export interface Rule {
  readonly policyId: string;
  readonly policyName: string;
  readonly text: string;
  readonly statement: Statement;
  /** Null: its compartment does not exist any more, so it gives nothing. */
  readonly locationId: string | null;
}

/** The policies of one tenancy at one moment. Names are looked up here, so what is renamed or gone gives nothing. */
export class TenancyPolicies {
  readonly rules: readonly Rule[];
  private readonly parents: ReadonlyMap<string, string | null>;
  private readonly lines = new Map<string, readonly string[]>();

  constructor(
    readonly tenancyId: string,
    compartments: readonly Compartment[],
    policies: readonly PolicyStatements[],
  ) {
    this.parents = new Map(compartments.map(({ id, parentId }) => [id, parentId]));
    // A name may have any character but NUL.
    const byName = new Map(compartments.map(({ id, parentId, name }) => [`${parentId ?? ''}\0${name}`, id]));
    const locate = ({ path, id }: Statement['location']): string | null => {
      if (id !== undefined) return id;
      let place = tenancyId;
      for (const name of path ?? []) {
        const child = byName.get(`${place}\0${name}`);
        if (child === undefined) return null;
        place = child;
      }
      return place;
    };
    this.rules = policies.flatMap((policy) =>
      policy.parsed.map((statement, index) => {
        const locationId = locate(statement.location);
        // Checked when the policy was written; a compartment that was moved or made since must not carry it further.
        const isInside = locationId !== null && this.lineOf(locationId).includes(policy.compartmentId);
        return {
          policyId: policy.id,
          policyName: policy.name,
          text: policy.statements[index] ?? '',
          statement,
          locationId: isInside ? locationId : null,
        };
      }),
    );
  }

  has(compartmentId: string): boolean {
    return this.parents.has(compartmentId);
  }

  /** The compartment and those that it is in, up to the root; nothing where there is no such compartment. */
  lineOf(compartmentId: string): readonly string[] {
    const known = this.lines.get(compartmentId);
    if (known !== undefined) return known;
    if (!this.parents.has(compartmentId)) return [];
    const line: string[] = [];
    let id: string | null | undefined = compartmentId;
    // As many as there are at most, should somebody have made a circle of them.
    while (id !== null && id !== undefined && line.length < this.parents.size) {
      line.push(id);
      id = this.parents.get(id);
    }
    this.lines.set(compartmentId, line);
    return line;
  }
}

/** What one user may do: the rules that are about any of their groups. */
export class Rights {
  private readonly rules: readonly Rule[];
  private readonly decisions = new Map<Permission, WeakMap<object, boolean>>();

  constructor(
    private readonly policies: TenancyPolicies,
    groups: readonly UserGroup[],
  ) {
    const names = new Set(groups.map(({ name }) => name));
    const ids = new Set(groups.map(({ id }) => id));
    this.rules = policies.rules.filter(
      ({ statement, locationId }) =>
        locationId !== null &&
        (statement.groups === undefined ||
          statement.groups.some((group) => ('name' in group ? names.has(group.name) : ids.has(group.id)))),
    );
  }

  /** The rules that allow it; none: it is denied. */
  allowing(permission: Permission, target: Target): Rule[] {
    return this.rules.filter((rule) => this.allows(rule, permission, target));
  }

  may(permission: Permission, target: Target): boolean {
    return this.rules.some((rule) => this.allows(rule, permission, target));
  }

  /** As `may`, remembered with the object that stands for the queue: the directory makes a new one when it changes. */
  mayUse(
    permission: Permission,
    queue: { readonly compartmentId: string; readonly id: string; readonly displayName: string },
  ): boolean {
    let known = this.decisions.get(permission);
    if (known === undefined) this.decisions.set(permission, (known = new WeakMap()));
    let decision = known.get(queue);
    if (decision === undefined) {
      decision = this.may(permission, { compartmentId: queue.compartmentId, queue });
      known.set(queue, decision);
    }
    return decision;
  }

  /** Whether there may be something in this compartment (absent: anywhere) that it is permitted on. */
  mightIn(permission: Permission, compartmentId: string | undefined): boolean {
    const line = compartmentId === undefined ? null : this.policies.lineOf(compartmentId);
    return this.rules.some(
      ({ statement: { verb, resourceType }, locationId }) =>
        locationId !== null && (line === null || line.includes(locationId)) && includes(verb, resourceType, permission),
    );
  }

  private allows({ statement, locationId }: Rule, permission: Permission, target: Target): boolean {
    return (
      locationId !== null &&
      includes(statement.verb, statement.resourceType, permission) &&
      this.policies.lineOf(target.compartmentId).includes(locationId) &&
      (statement.condition === undefined || holds(statement.condition, target))
    );
  }
}

/** A variable that the target does not have makes any comparison false, != too: what is not known gives nothing. */
function holds(condition: Condition, target: Target): boolean {
  if ('any' in condition) return condition.any.some((each) => holds(each, target));
  if ('all' in condition) return condition.all.every((each) => holds(each, target));
  const actual = condition.variable === 'target.queue.id' ? target.queue?.id : target.queue?.displayName;
  if (actual === undefined) return false;
  const isEqual = condition.isPattern ? matches(condition.value, actual) : condition.value === actual;
  return isEqual === (condition.operator === '=');
}

/** Whether a text is as a pattern says, in which * stands for any characters: piece by piece, so that no pattern takes long. */
export function matches(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return first === text;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let position = first.length;
  const end = text.length - last.length;
  for (const piece of rest) {
    const found = text.indexOf(piece, position);
    if (found < 0 || found + piece.length > end) return false;
    position = found + piece.length;
  }
  return true;
}
