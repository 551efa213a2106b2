import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { ServiceError } from '../errors/service-error.js';
import { LivePods } from './live-pods.js';
import { Refusals } from './refusals.js';

/** A connection, whatever it speaks: a socket, as far as this needs to know it. */
export interface Connection {
  readonly destroyed: boolean;
  once(event: 'close', listener: () => void): unknown;
}

interface Owner {
  readonly tenancyId: string;
  readonly userId: string;
}

const RETRY_AFTER_SECONDS = 1;

/**
 * On how many connections a tenancy, and one user of it, make requests. A connection counts from its first request with
 * valid credentials until it closes. Each pod allows its part, the limit divided by the number of pods that live, and
 * one in any case. Connections that count already stay when a further pod makes that part smaller.
 */
@Injectable()
export class CallerConnections {
  private readonly owners = new WeakMap<Connection, Owner>();
  private readonly counts = new Map<string, number>();

  constructor(
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
    private readonly pods: LivePods,
    private readonly refusals: Refusals,
  ) {}

  /** Tenancies and users that have connections which count. */
  get size(): number {
    return this.counts.size;
  }

  /** Counts the connection for this caller, where it does not yet. Throws TooManyRequests: it should be closed then. */
  admit(connection: Connection, { tenancyId, userId }: Owner): void {
    const { maxTenancyConnections, maxUserConnections } = this.configuration;
    if ((maxTenancyConnections === null && maxUserConnections === null) || connection.destroyed) return;
    const owner = this.owners.get(connection);
    if (owner?.userId === userId && owner.tenancyId === tenancyId) return;
    // A proxy's connection has requests of several callers: it counts for the last one.
    const isSameTenancy = owner?.tenancyId === tenancyId;
    if (!isSameTenancy) this.check('tenancy', tenancyId, maxTenancyConnections);
    this.check('user', userId, maxUserConnections);
    if (owner === undefined) connection.once('close', () => this.forget(connection));
    else this.leave(owner);
    this.owners.set(connection, { tenancyId, userId });
    for (const id of [tenancyId, userId]) this.counts.set(id, (this.counts.get(id) ?? 0) + 1);
  }

  private check(scope: 'tenancy' | 'user', id: string, limit: number | null): void {
    if (limit === null) return;
    const pods = this.pods.count;
    const ofPod = Math.max(1, Math.floor(limit / pods));
    const open = this.counts.get(id) ?? 0;
    if (open < ofPod) return;
    this.refusals.count('connections', scope);
    const part = pods === 1 ? '' : `, ${ofPod} to each of ${pods} pods`;
    throw new ServiceError(
      'TooManyRequests',
      `the ${scope} may have ${limit} connections${part}, and has ${open} here: use those that are open, or close some`,
      { retryAfterSeconds: RETRY_AFTER_SECONDS },
    );
  }

  private forget(connection: Connection): void {
    const owner = this.owners.get(connection);
    if (owner !== undefined) this.leave(owner);
    this.owners.delete(connection);
  }

  private leave({ tenancyId, userId }: Owner): void {
    for (const id of [tenancyId, userId]) {
      const left = (this.counts.get(id) ?? 1) - 1;
      if (left > 0) this.counts.set(id, left);
      else this.counts.delete(id);
    }
  }
}
