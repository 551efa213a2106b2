import { clock, type Operation } from '../history.js';
import { runLoad, type Pace } from '../load.js';
import { AUTO_CHANNEL, StompClients } from './clients.js';
import type { SubscribeOptions } from './subscription.js';
import { queueOf, type StompTarget } from './target.js';

export interface StompLoadOptions {
  readonly seconds: number;
  /** How many connections each client has at least, however long that takes. */
  readonly leastRounds?: number;
  /** As in `LoadOptions`. */
  readonly signal?: AbortSignal;
  readonly pace?: Pace;
  /** For how long clients of STOMP are away between two connections, at most; absent: not at all. */
  readonly awayMs?: number;
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
  { seconds, leastRounds = 0, signal, pace, awayMs }: StompLoadOptions,
): Promise<StompFigures> {
  const until = clock() + seconds * 1000;
  const goesOn = (rounds: number): boolean => signal?.aborted !== true && (rounds < leastRounds || clock() < until);
  const common = {
    ...(signal === undefined ? {} : { signal }),
    ...(pace === undefined ? {} : { pace }),
  };
  const clients = (name: string): StompClients =>
    new StompClients(target, `${name}${(loads += 1)}`, {
      goesOn,
      ...common,
      ...(awayMs === undefined ? {} : { awayMs }),
    });
  const loading = ['in', 'out'].map((name) => {
    const queue = queueOf(target, name);
    const backlog = new StompBacklog(queue.operations);
    return runLoad(queue, {
      seconds,
      producers: name === 'in' ? 3 : 1,
      consumers: name === 'in' ? 8 : 4,
      backlogOfOthers: () => backlog.size,
      ...common,
    });
  });
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

/** What clients of STOMP have put and nobody has deleted yet, about. Each operation is read once. */
class StompBacklog {
  private read = 0;
  private messages = 0;

  constructor(private readonly operations: readonly Operation[]) {}

  get size(): number {
    for (; this.read < this.operations.length; this.read += 1) {
      const each = this.operations[this.read];
      if (each?.kind === 'put') this.messages += each.messages.filter(isOfStomp).length;
      else if (each?.kind === 'delete' && each.outcome === 'done' && each.receipt.includes('/')) this.messages -= 1;
    }
    return this.messages;
  }
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
