import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairTurns } from '../fairness/fair-turns.js';
import { setLane } from '../fairness/lane.js';
import { CallerConnections } from '../limits/caller-connections.js';
import { RateLimits } from '../limits/rate-limits.js';

/** A body of so many bytes counts as one small request more. */
const BYTES_PER_UNIT = 16_384;

/**
 * Lets the requests of one caller begin in their turn beside those of others, and refuses those beyond the limits of the
 * caller's tenancy (its connections, its requests per second), both before anything is done for them. After the guard that
 * says who calls. Throws TooManyRequests.
 */
@Injectable()
export class CallerLimitsGuard implements CanActivate {
  constructor(
    private readonly turns: FairTurns,
    private readonly connections: CallerConnections,
    private readonly rates: RateLimits,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const { caller, raw } = request;
    // A route that is public.
    if (caller === undefined) return true;
    setLane(caller.userId);
    try {
      this.connections.admit(raw.socket, caller);
    } catch (error) {
      void http.getResponse<FastifyReply>().header('connection', 'close');
      throw error;
    }
    const bytes = Buffer.isBuffer(request.body) ? request.body.length : 0;
    const turn = this.turns.take(caller.userId, 1 + Math.floor(bytes / BYTES_PER_UNIT));
    if (turn === undefined) {
      this.rates.admit(caller.tenancyId);
      return true;
    }
    return turn.then(() => {
      this.rates.admit(caller.tenancyId);
      return true;
    });
  }
}
