import { clock, type Operation } from '../history.js';
import { runLoad } from '../load.js';
import { AUTO_CHANNEL, StompClients } from './clients.js';
import type { SubscribeOptions } from './subscription.js';
import { queueOf, type StompTarget } from './target.js';

export interface StompLoadOptions {
  readonly seconds: number;
  /** How many connections each client has at least, however long that takes. */
  readonly leastRounds?: number;
}

/** What a run exercised. */
export interface StompFigures {
  readonly messages: number;
  readonly deliveries: number;
  /** Messages that others had before their timeout, since their holder had gone. */
  readonly releasedEarly: number;
  readonly deadLetters: number;
  readonly refused: number;
  readonly unknown: number;
}

const INDIVIDUAL: SubscribeOptions = {
  queue: 'in',
  channelId: null,
  deadLetter: false,
  ack: 'client-individual',
  prefetch: 10,
  visibilityInSeconds: 5,
  releases: true,
  keepsLease: false,
  ignoresStale: false,
};

/** Clients of STOMP and of REST on two queues, `in` and `out`, for a while. */
export async function runStompLoad(
  target: StompTarget,
  { seconds, leastRounds = 0 }: StompLoadOptions,
): Promise<StompFigures> {
  const until = clock() + seconds * 1000;
  const clients = (name: string): StompClients =>
    new StompClients(target, `${name}${(loads += 1)}`, (rounds) => rounds < leastRounds || clock() < until);
  const loading = ['in', 'out'].map((name) =>
    runLoad(queueOf(target, name), {
      seconds,
      producers: name === 'in' ? 3 : 1,
      consumers: name === 'in' ? 8 : 4,
      backlogOfOthers: () => backlogOf(queueOf(target, name).operations),
    }),
  );
  await Promise.all([
    ...loading,
    clients('producer').produce('in'),
    clients('sender').produce('out'),
    clients('one').consume(INDIVIDUAL),
    clients('short').consume({ ...INDIVIDUAL, visibilityInSeconds: 1 }),
    clients('ignores').consume({ ...INDIVIDUAL, visibilityInSeconds: 1, ignoresStale: true }),
    clients('cumulates').consume({ ...INDIVIDUAL, ack: 'client', prefetch: 8 }),
    clients('keeps').consume({ ...INDIVIDUAL, visibilityInSeconds: 1, keepsLease: true, channelId: 'blue' }),
    clients('leaves').consume({ ...INDIVIDUAL, visibilityInSeconds: 2, releases: false, prefetch: 4 }),
    clients('automatic').consume({ ...INDIVIDUAL, ack: 'auto', channelId: AUTO_CHANNEL, prefetch: 3 }),
    clients('dead').consume({ ...INDIVIDUAL, deadLetter: true }),
    clients('receiver').consume({ ...INDIVIDUAL, queue: 'out', ack: 'client' }),
    clients('worker').transact({ ...INDIVIDUAL, channelId: 'work' }, 'out'),
    clients('helper').transact({ ...INDIVIDUAL, channelId: 'amber', visibilityInSeconds: 1 }, 'out'),
  ]);
  return figuresOf([...target.queues.values()].flatMap(({ operations }) => operations));
}

/** Names of clients are never used twice, whatever runs in this process. */
let loads = 0;

function isOfStomp({ key }: { readonly key: string }): boolean {
  return /^(?:message|poison) [a-z]/.test(key);
}

/** What clients of STOMP have put and nobody has deleted yet, about. */
function backlogOf(operations: readonly Operation[]): number {
  return operations.reduce((sum, each) => {
    if (each.kind === 'put') return sum + each.messages.filter(isOfStomp).length;
    return each.kind === 'delete' && each.outcome === 'done' && each.receipt.includes('/') ? sum - 1 : sum;
  }, 0);
}

export function figuresOf(operations: readonly Operation[]): StompFigures {
  const gets = operations.filter((each) => each.kind === 'get');
  const releases = operations.filter((each) => each.kind === 'release');
  const released = new Set(releases.flatMap(({ receipts }) => receipts));
  const claims = gets.flatMap(({ deadLetter, messages, visibilityInSeconds }) =>
    messages.map((message) => ({
      ...message,
      deadLetter,
      claimedAt: message.visibleAfter - (visibilityInSeconds ?? 0) * 1000,
    })),
  );
  const byMessage = Map.groupBy(claims, ({ id }) => id);
  let releasedEarly = 0;
  for (const claimed of byMessage.values()) {
    claimed.sort((a, b) => a.claimedAt - b.claimedAt);
    for (const [index, { receipt, visibleAfter }] of claimed.entries()) {
      const next = claimed[index + 1];
      if (next !== undefined && released.has(receipt) && next.claimedAt < visibleAfter) releasedEarly += 1;
    }
  }
  const settled = operations.filter(({ kind }) => kind === 'delete' || kind === 'update');
  return {
    messages: operations.reduce((sum, each) => sum + (each.kind === 'put' ? each.messages.length : 0), 0),
    deliveries: claims.length,
    releasedEarly,
    deadLetters: new Set(claims.filter(({ deadLetter }) => deadLetter).map(({ id }) => id)).size,
    refused: settled.filter(({ outcome }) => outcome === 'refused').length,
    unknown: operations.filter(({ outcome }) => outcome === 'unknown').length,
  };
}
