import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Notifications } from '../database/notifications.js';
import { PolicyFunctions } from '../database/policy-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import type { Permission } from '../identity/permission.js';
import type { Statement } from './policy-syntax.js';
import { Rights, TenancyPolicies, type Rule, type Target } from './tenancy-policies.js';

/** After this long a request has the policies asked for again, beside itself; after twice this long it waits for that. */
const ASK_AGAIN_AFTER_MS = 1000;
const OLD_AFTER_MS = 2000;
/** Bounds of what a pod remembers; beyond it forgets all and asks again. */
const MAX_TENANCIES = 1000;
const MAX_USERS = 10_000;

type User = Pick<Caller, 'tenancyId' | 'userId' | 'groups'>;

interface Known {
  /** Null: there is no such tenancy. */
  readonly policies: TenancyPolicies | null;
  readonly version: number | null;
  /** By user; those who have called since these policies were read. */
  readonly rights: Map<string, Rights>;
  /** When it was asked for last, which is before the answer was made. */
  asked: number;
}

interface Load {
  readonly now: Promise<Known>;
  /** For those who came when it had begun already. */
  next: Promise<Known> | null;
}

/**
 * Says whether a caller may. A yes comes from memory, which is two seconds old at most, and is forgotten by the
 * notification of a change. A no is always asked for anew: so that what was just allowed is allowed on every pod at
 * once, and so that a no takes as long as it takes to find that something does not exist.
 */
@Injectable()
export class Access implements OnApplicationShutdown {
  private readonly known = new Map<string, Known>();
  private readonly loads = new Map<string, Load>();
  private readonly onMessage = (payload: unknown): void => {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, id } = payload as { t?: unknown; id?: unknown };
    if (t === 'policies' && typeof id === 'string') this.outdate(id);
  };
  private readonly onListening = (): void => {
    for (const tenancyId of this.known.keys()) this.outdate(tenancyId);
  };
  /** When something was last said to have changed: what was asked for before that is old. */
  private readonly changed = new Map<string, number>();

  constructor(
    private readonly functions: PolicyFunctions,
    private readonly notifications: Notifications,
  ) {
    notifications.events.on('message', this.onMessage);
    notifications.events.on('listening', this.onListening);
  }

  /** Whether the caller has what its request needs, or `permission`, on this target. Throws ServiceUnavailable. */
  async may(caller: Caller, target: Target, permission = caller.permission): Promise<boolean> {
    if (permission === undefined) return false;
    if (this.rightsFromMemory(caller)?.may(permission, target) === true) return true;
    return (await this.rightsOf(caller)).may(permission, target);
  }

  /** As `may`, for every put and get: where the answer is known this costs some look-ups in memory, and no promise. */
  mayUse(caller: Caller, queue: Queue): true | Promise<boolean> {
    const { permission } = caller;
    if (permission !== undefined && this.rightsFromMemory(caller)?.mayUse(permission, queue) === true) return true;
    return this.may(caller, { compartmentId: queue.compartmentId, queue });
  }

  /** Throws NotAuthorizedOrNotFound, worded as for one that does not exist, where the caller may not on this in a compartment. */
  async checkCompartment(caller: Caller, target: Target): Promise<void> {
    if (!(await this.may(caller, target))) throw missingCompartment(target.compartmentId);
  }

  /**
   * What of a list the caller may see: those things whose target is permitted. Throws NotAuthorizedOrNotFound where the
   * list is of one compartment and nothing in that can be for the caller; null: nothing anywhere can.
   */
  async filterOf<Thing>(
    caller: Caller,
    compartmentId: string | undefined,
    targetOf: (thing: Thing) => Target,
    permissionFor: (thing?: Thing) => Permission | undefined = () => caller.permission,
  ): Promise<((thing: Thing) => boolean) | null> {
    const rights = await this.rightsOf(caller);
    const weakest = permissionFor();
    const might = weakest !== undefined && rights.mightIn(weakest, compartmentId);
    if (!might && compartmentId !== undefined) throw missingCompartment(compartmentId);
    if (!might) return null;
    return (thing) => rights.may(permissionFor(thing) ?? weakest, targetOf(thing));
  }

  /** The statements that permit a user something, and whether the compartment exists, as the database has it now. */
  async explain(
    tenancyId: string,
    userId: string,
    permission: Permission,
    target: Target,
  ): Promise<{ readonly rules: readonly Rule[]; readonly compartmentExists: boolean }> {
    const { policies } = await this.load(tenancyId);
    const rights = await this.rightsOf({ tenancyId, userId });
    return {
      rules: rights.allowing(permission, target),
      compartmentExists: policies?.has(target.compartmentId) === true,
    };
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
    this.known.clear();
    this.changed.clear();
  }

  /** Null where they are not known, or too old to say yes. */
  private rightsFromMemory(caller: User): Rights | null {
    const { tenancyId } = caller;
    const known = this.known.get(tenancyId);
    if (known === undefined) return null;
    const age = performance.now() - known.asked;
    if (age >= OLD_AFTER_MS) return null;
    if (age >= ASK_AGAIN_AFTER_MS && !this.loads.has(tenancyId)) {
      // Whoever has to wait for an answer is told if there is none.
      this.load(tenancyId).catch(() => undefined);
    }
    return known.rights.get(nameOf(caller)) ?? null;
  }

  /** As the database has them now. */
  private async rightsOf(caller: User): Promise<Rights> {
    const { tenancyId, userId, groups } = caller;
    const name = nameOf(caller);
    const known = await this.load(tenancyId);
    const { policies, rights } = known;
    const before = rights.get(name);
    if (before !== undefined) return before;
    if (policies === null) return new Rights(new TenancyPolicies(tenancyId, [], []), []);
    // Read after the policies, so they are not older than these; where they are younger, the version says so soon.
    const found =
      groups === undefined
        ? await this.functions.groupsOfUser(tenancyId, userId)
        : await this.functions.groupsNamed(tenancyId, groups);
    const made = new Rights(policies, found);
    if (rights.size >= MAX_USERS) rights.clear();
    rights.set(name, made);
    return made;
  }

  /** The policies as they are when this is called, or later. Those who come together share a statement. */
  private load(tenancyId: string): Promise<Known> {
    const running = this.loads.get(tenancyId);
    if (running !== undefined) {
      running.next ??= running.now.then(
        () => this.load(tenancyId),
        () => this.load(tenancyId),
      );
      return running.next;
    }
    const load: Load = { now: this.read(tenancyId).finally(() => this.loads.delete(tenancyId)), next: null };
    this.loads.set(tenancyId, load);
    return load.now;
  }

  private async read(tenancyId: string): Promise<Known> {
    const asked = performance.now();
    const before = this.known.get(tenancyId);
    const { version, compartments, policies } = await this.functions.load(tenancyId, before?.version ?? null);
    let known: Known;
    if (before !== undefined && before.version === version) {
      known = before;
    } else {
      const made =
        compartments === null || policies === null
          ? null
          : new TenancyPolicies(
              tenancyId,
              compartments,
              policies.map((policy) => ({ ...policy, parsed: policy.parsed as readonly Statement[] })),
            );
      known = { policies: made, version, rights: new Map(), asked };
      if (this.known.size >= MAX_TENANCIES) {
        this.known.clear();
        this.changed.clear();
      }
      this.known.set(tenancyId, known);
    }
    // A change that was told after this began may not be in the answer.
    known.asked = (this.changed.get(tenancyId) ?? -Infinity) < asked ? asked : -Infinity;
    return known;
  }

  private outdate(tenancyId: string): void {
    const known = this.known.get(tenancyId);
    // Before anything was read of it there may be a read under way.
    if (known === undefined && !this.loads.has(tenancyId)) return;
    this.changed.set(tenancyId, performance.now());
    if (known !== undefined) known.asked = -Infinity;
  }
}

/** The same user has other rights with a token that tells other groups. No user's id and no group's name has a NUL. */
function nameOf({ userId, groups }: User): string {
  return groups === undefined ? userId : [userId, ...groups].join('\0');
}

/** Worded as towpath.check_compartment does. */
function missingCompartment(id: string): ServiceError {
  return new ServiceError('NotAuthorizedOrNotFound', `compartment ${id} does not exist or you may not use it`);
}
