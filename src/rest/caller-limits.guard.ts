import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairSlots } from '../fairness/fair-slots.js';
import { FairTurns } from '../fairness/fair-turns.js';
import { setLane } from '../fairness/lane.js';
import type { Caller } from '../identity/caller.js';
import { CallerConnections } from '../limits/caller-connections.js';
import { RateLimits } from '../limits/rate-limits.js';
import { SMALL_BYTES } from '../memory/memory-budget.js';

/** So many bytes of a large body count as one small request. */
const BYTES_PER_UNIT = 16_384;
/** Requests with large bodies that are under way at once, from when they are read until they are answered. */
const LARGE_AT_ONCE = 4;

/**
 * Lets the requests of one caller begin in their turn beside those of others, and refuses those beyond the limits of the
 * caller's tenancy (its connections, its requests per second), both before anything is done for them. After the guard that
 * says who calls. Throws TooManyRequests.
 */
@Injectable()
export class CallerLimitsGuard implements CanActivate {
  private readonly large = new FairSlots(LARGE_AT_ONCE);

  constructor(
    private readonly turns: FairTurns,
    private readonly connections: CallerConnections,
    private readonly rates: RateLimits,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const http = context.switchToHttp();
    const { caller, raw, body } = http.getRequest<FastifyRequest>();
    // A route that is public.
    if (caller === undefined) return true;
    const reply = http.getResponse<FastifyReply>();
    setLane(caller.userId);
    try {
      this.connections.admit(raw.socket, caller);
    } catch (error) {
      void reply.header('connection', 'close');
      throw error;
    }
    const bytes = Buffer.isBuffer(body) ? body.length : 0;
    if (bytes > SMALL_BYTES) return this.beginLarge(caller, bytes, reply.raw);
    const turn = this.turns.take(caller.userId);
    if (turn !== undefined) return turn.then(() => this.begin(caller));
    return this.begin(caller);
  }

  private begin({ tenancyId }: Caller): true {
    this.rates.admit(tenancyId);
    return true;
  }

  /** What is large keeps the thread busy in several pieces, so that few are under way at once. */
  private async beginLarge(caller: Caller, bytes: number, answer: FastifyReply['raw']): Promise<boolean> {
    const { userId } = caller;
    await this.large.take(userId)?.entered;
    // Who has gone meanwhile closes no more.
    if (answer.closed || answer.destroyed) this.large.give(userId);
    else answer.once('close', () => this.large.give(userId));
    await this.turns.take(userId, Math.ceil(bytes / BYTES_PER_UNIT));
    return this.begin(caller);
  }
}
