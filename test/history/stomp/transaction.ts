import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome } from '../history.js';
import { between } from '../random.js';
import type { MessageToSend } from '../recorded-queue.js';
import type { RecordedSession } from './session.js';
import type { HeldMessage, SettleCall } from './subscription.js';
import type { StompTarget } from './target.js';
import type { Headers } from './wire.js';

export interface Transaction {
  readonly puts: readonly { readonly queue: string; readonly message: MessageToSend }[];
  readonly acks: readonly HeldMessage[];
  /** Given back by it. */
  readonly nacks: readonly HeldMessage[];
}

/** How a client ends a transaction; late: when what it acknowledges was given back already, so that it must fail. */
export type Ending = 'commit' | 'abort' | 'cut' | 'late';

/** Longer than a timeout of a second. */
const LAPSED_MS = 1300;

let transactions = 0;

/** Does all of it in a transaction of STOMP and ends that. Null: it came to no COMMIT. */
export async function transact(
  target: StompTarget,
  session: RecordedSession,
  transaction: Transaction,
  ending: Ending,
): Promise<Outcome | null> {
  const { puts, acks, nacks } = transaction;
  const name = `t${(transactions += 1)}`;
  const within = { transaction: name };
  const frames: (readonly [string, Headers, string?])[] = [
    ['BEGIN', within],
    ...puts.map(({ queue, message }) => {
      return ['SEND', { ...session.sendHeaders(queue, message), ...within }, message.key] as const;
    }),
    ...acks.map((held) => ['ACK', { ...session.ackHeaders(held), ...within }] as const),
    ...nacks.map((held) => ['NACK', { ...session.ackHeaders(held), ...within, 'delay-in-seconds': '1' }] as const),
  ];
  for (const held of [...acks, ...nacks]) held.state = 'settling';
  if (ending === 'cut') cutWithin(session, frames);
  for (const [command, headers, body] of frames) session.write(command, headers, body);
  const [first] = acks;
  if (ending === 'late' && first !== undefined) {
    // Where the timeout is short others may have it by then, and what is given back is not to be theirs.
    if (first.subscription.options.visibilityInSeconds === 1) await sleep(LAPSED_MS);
    await session.unsubscribe(first.subscription);
  }
  if (ending === 'abort') {
    const call = await session.ask('ABORT', within);
    // Whatever becomes of that: without a COMMIT nothing of it happens.
    record(target, session, transaction, { ...call, outcome: 'refused' }, true);
    for (const held of [...acks, ...nacks]) held.state = 'held';
    return null;
  }
  const call = await session.ask('COMMIT', within);
  record(target, session, transaction, call, false);
  return call.outcome;
}

/** Cuts somewhere in the frames of the transaction, or in COMMIT, or in its receipt. */
function cutWithin(session: RecordedSession, frames: readonly (readonly [string, Headers, string?])[]): void {
  const commit = session.bytesOf('COMMIT', { transaction: 't100', receipt: 'r100' });
  const before = frames.reduce((sum, [command, headers, body]) => sum + session.bytesOf(command, headers, body), 0);
  if (Math.random() < 0.3) session.proxy.cutAfter('to the client', between(0, 40));
  // Mostly in COMMIT, or a byte behind it.
  else session.proxy.cutAfter('to the pod', Math.random() < 0.2 ? between(0, before) : before + between(0, commit + 4));
}

function record(
  { commits, counts }: StompTarget,
  session: RecordedSession,
  { puts, acks, nacks }: Transaction,
  call: SettleCall,
  isAborted: boolean,
): void {
  const queues = new Set(puts.map(({ queue }) => queue));
  for (const queue of queues) {
    const messages = puts.filter((put) => put.queue === queue).map(({ message }) => message);
    session.recordPut(queue, messages, call);
  }
  if (isAborted) return;
  for (const [delay, settled] of [[null, acks] as const, [1, nacks] as const]) {
    // Refused for one of several, which is not told: the others were good, and nothing has happened to any.
    if (call.outcome === 'refused' && acks.length + nacks.length > 1) break;
    for (const held of settled) held.subscription.settled([held], held, delay, call);
  }
  commits.push({
    ...call,
    puts: puts.map(({ queue, message }) => ({ queue, key: message.key })),
    deletes: acks.map(({ subscription, receipt }) => ({ queue: subscription.options.queue, receipt })),
  });
  counts.commits += call.outcome === 'done' ? 1 : 0;
  counts.unknownCommits += call.outcome === 'unknown' ? 1 : 0;
  counts.refusedCommits += call.outcome === 'refused' ? 1 : 0;
}
