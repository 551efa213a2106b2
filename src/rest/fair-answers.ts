import type { FastifyInstance } from 'fastify';
import type { FairTurns } from '../fairness/fair-turns.js';
import { inLane } from '../fairness/lane.js';

/** All who have no valid credentials are one lane: what they call themselves costs them nothing. */
const STRANGERS = '';
/** Who asks whether the pod lives is answered at once, or it would be restarted for being busy. */
const PROBES = new Set(['/livez', '/readyz', '/metrics']);

/**
 * Gives each request a lane, which the guard names after its caller. What has no caller in the end (wrong credentials,
 * unknown routes, the description) is answered in the turn of strangers, so that a flood of it does not come before
 * everybody else. It is the answer that waits: by then it is known that nobody has to be served, and a client sends its next request
 * only after that.
 */
export function answerInTurn(server: FastifyInstance, turns: FairTurns): void {
  server.addHook('onRequest', (_request, _reply, done) => inLane(done));
  server.addHook('onSend', (request, _reply, _payload, done) => {
    const isInTurn = request.caller !== undefined || PROBES.has(request.routeOptions.url ?? '');
    const turn = isInTurn ? undefined : turns.take(STRANGERS);
    if (turn === undefined) done();
    else void callAfter(turn, done);
  });
}

async function callAfter(turn: Promise<void>, done: () => void): Promise<void> {
  await turn;
  done();
}
