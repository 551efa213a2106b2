import { setTimeout as sleep } from 'node:timers/promises';
import { clock } from '../history.js';
import { UNPACED, type Pace } from '../load.js';
import { between, chance, pick, range } from '../random.js';
import type { MessageToSend } from '../recorded-queue.js';
import { CuttingProxy } from './cutting-proxy.js';
import { RecordedSession, type SessionOptions } from './session.js';
import type { HeldMessage, RecordedSubscription, SubscribeOptions } from './subscription.js';
import type { StompTarget } from './target.js';
import { transact, type Ending, type Transaction } from './transaction.js';

/** The channel whose messages are deleted as they are sent: nobody can promise anything about those. */
export const AUTO_CHANNEL = 'auto';
const CHANNELS = ['', '', 'amber', 'blue', AUTO_CHANNEL] as const;
/** Every nth message is given back until it is a dead letter. */
const POISON_EVERY = 20;
/** What a client of transactions has to do on each connection, in so many of them. */
const WORK = 12;
const TRANSACTIONS = 2;
/** Others may have taken the work. */
const TRIES = 4;
/** How long a client waits for a pod that is away. */
const AWAY_MS = 100;
/** For how long a connection without a word may live on after its time. */
const PATIENCE_MS = 5000;

export type WayToEnd =
  'disconnect' | 'unsubscribe' | 'cut' | 'cut to the pod' | 'cut to the client' | 'stall' | 'freeze';
const WAYS: readonly WayToEnd[] = [
  'unsubscribe',
  'cut to the client',
  'stall',
  'disconnect',
  'cut to the pod',
  'freeze',
  'cut',
];
const ENDINGS: readonly Ending[] = ['late', 'cut', 'commit', 'abort', 'cut'];

export interface ClientOptions {
  /** Whether there is to be a further connection, after so many. */
  readonly goesOn: (rounds: number) => boolean;
  /** See `StompLoadOptions`. */
  readonly pace?: Pace;
  readonly awayMs?: number;
}

/** One client after another, each with a connection, on one pod after the other. */
export class StompClients {
  private sent = 0;

  constructor(
    private readonly target: StompTarget,
    /** Makes its messages different from those of others. */
    private readonly name: string,
    private readonly options: ClientOptions,
  ) {}

  async produce(queue: string): Promise<void> {
    await this.each(
      (turn) => ({ version: '1.2', heartBeats: turn % 2 === 0 }),
      async (session, turn) => {
        const messages = range(between(5, 25)).map(() => this.message());
        const way = pick(['disconnect', 'cut to the pod', 'cut to the client'] as const);
        await this.pace(messages.length);
        // Those without a receipt come to their end with the connection.
        const sending = messages.map((message, n) => session.send(queue, message, n === 0 || chance(0.9)));
        if (turn % 2 === 0) await sending[0];
        await this.end(session, way);
        await Promise.all(sending);
        await sleep(between(50, 200));
      },
    );
  }

  async consume(options: SubscribeOptions): Promise<void> {
    const versions = ['1.2', '1.1', '1.0'] as const;
    await this.each(
      (turn) => ({ version: versions[turn % 3] ?? '1.2', heartBeats: true }),
      async (session, turn) => {
        const subscription = session.subscribe(options);
        const handled: Promise<unknown>[] = [];
        const until = clock() + between(300, 1500);
        for (let seen = 0; clock() < until && !session.isOver;) {
          await subscription.next(50);
          const fresh = subscription.seen.slice(seen);
          seen = subscription.seen.length;
          handled.push(...this.handle(session, subscription, fresh));
        }
        const way = WAYS[(turn + this.name.length) % WAYS.length] ?? 'cut';
        await this.end(session, way, subscription);
        await Promise.all(handled);
      },
    );
  }

  /** Consumes here and produces there, together. */
  async transact(options: SubscribeOptions, to: string): Promise<void> {
    await this.each(
      () => ({ version: '1.2', heartBeats: true }),
      async (session, turn) => {
        const ending = ENDINGS[turn % ENDINGS.length] ?? 'commit';
        // There is work for it, whatever others do.
        const work = range(WORK).map(() => ({
          ...this.message(),
          channelId: options.channelId ?? '',
          delayInSeconds: 0,
        }));
        await this.pace(work.length);
        await Promise.all(work.map((message) => session.send(options.queue, message)));
        const subscription = session.subscribe(options);
        for (
          let tries = 0, transactions = 0;
          transactions < TRANSACTIONS && tries < TRIES && !session.isOver;
          tries += 1
        ) {
          await this.untilHolding(session, subscription, between(1, 3));
          const held = subscription.held;
          const poison = held.filter(isPoison);
          const acks = held.filter((each) => !isPoison(each));
          if (acks.length === 0) {
            await Promise.all(poison.map((each) => session.settle(each, 0)));
            continue;
          }
          const puts = acks.map(({ key }) => ({ queue: to, message: { ...this.message(key), channelId: 'amber' } }));
          // Also into the queue that it consumes from.
          if (chance(0.2)) puts.push({ queue: options.queue, message: { ...this.message(), channelId: '' } });
          const transaction: Transaction = { puts, acks, nacks: poison };
          await transact(this.target, session, transaction, transactions === 0 ? 'commit' : ending);
          transactions += 1;
        }
        await this.end(session, 'disconnect');
      },
    );
  }

  private async each(
    options: (turn: number) => SessionOptions,
    work: (session: RecordedSession, turn: number) => Promise<void>,
  ): Promise<void> {
    for (let turn = 0; this.options.goesOn(turn);) {
      const slot = (turn + this.name.length) % this.target.pods.length;
      const proxy = await CuttingProxy.start(() => this.target.pods[slot]?.port ?? 0);
      this.target.proxies.add(proxy);
      const pod = this.target.pods[slot];
      const session = pod === undefined ? null : await RecordedSession.open(this.target, proxy, pod, options(turn));
      if (session === null) await sleep(AWAY_MS);
      else {
        await work(session, turn);
        turn += 1;
      }
      proxy.close();
      this.target.proxies.delete(proxy);
      if (this.options.awayMs !== undefined) await sleep(between(0, this.options.awayMs));
    }
  }

  private pace(messages: number): Promise<void> {
    return (this.options.pace ?? UNPACED)(messages);
  }

  /** What consumers do with what they got: mostly well, sometimes late, sometimes not at all. */
  private handle(
    session: RecordedSession,
    { options }: RecordedSubscription,
    fresh: readonly HeldMessage[],
  ): Promise<unknown>[] {
    if (options.ack === 'auto' || fresh.length === 0) return [];
    if (options.ack === 'client') return [this.settle(session, pick(fresh) ?? fresh[0]!, chance(0.8) ? null : 0, 20)];
    return fresh.flatMap((held) => {
      const what = Math.random();
      if (isPoison(held) && !options.deadLetter) return this.settle(session, held, chance(0.9) ? 0 : 1, 0);
      // Held until the end.
      if (what < 0.2) return [];
      if (what < 0.32) return this.settle(session, held, between(0, 2), 30);
      // Too late, where the lease is not kept.
      if (what < 0.36 && options.visibilityInSeconds === 1) return this.settle(session, held, null, 1500);
      if (options.keepsLease && what < 0.5) return this.settle(session, held, null, 1300);
      return this.settle(session, held, null, 30);
    });
  }

  private async settle(
    session: RecordedSession,
    held: HeldMessage,
    delay: number | null,
    waitMs: number,
  ): Promise<void> {
    await sleep(waitMs === 30 ? between(0, 30) : waitMs);
    if (held.state === 'held' && !session.isOver) await session.settle(held, delay, chance(0.95));
  }

  private async untilHolding(
    session: RecordedSession,
    subscription: RecordedSubscription,
    count: number,
  ): Promise<void> {
    const deadline = clock() + 1500;
    while (subscription.held.length < count && clock() < deadline && !session.isOver) await subscription.next(100);
  }

  private async end(session: RecordedSession, way: WayToEnd, subscription?: RecordedSubscription): Promise<void> {
    const { proxy } = session;
    if (way === 'unsubscribe' && subscription !== undefined) await session.unsubscribe(subscription);
    if (way === 'cut') proxy.cut();
    else if (way === 'cut to the pod') proxy.cutAfter(way.slice(4) as 'to the pod', between(0, 400));
    else if (way === 'cut to the client') proxy.cutAfter('to the client', between(0, 1500));
    else if (way === 'stall' || way === 'freeze') {
      if (way === 'stall') session.stall();
      else session.freeze();
      await Promise.race([sleep(2 * this.target.heartBeatMs + between(100, 700)), session.ended]);
      if (way === 'stall') session.wake();
      else proxy.cut();
    }
    // What is cut after some bytes needs some.
    if (way.startsWith('cut to')) await Promise.race([sleep(between(50, 300)), session.ended]);
    if (way === 'unsubscribe' || way === 'disconnect') await session.disconnect();
    else if (way === 'stall') await Promise.race([sleep(PATIENCE_MS), session.ended]);
    proxy.cut();
    await session.ended;
  }

  private message(from = ''): MessageToSend {
    this.sent += 1;
    const kind = this.sent % POISON_EVERY === 0 && from === '' ? 'poison' : 'message';
    const filling = 'x'.repeat(between(0, 60));
    const key = `${kind} ${this.name}/${this.sent} ${from === '' ? '' : `of (${from.slice(0, 40)}) `}${filling}`;
    return { key, channelId: pick(CHANNELS), delayInSeconds: chance(0.05) ? 1 : 0 };
  }
}

function isPoison({ key }: HeldMessage): boolean {
  return key.startsWith('poison');
}
