import { setTimeout as sleep } from 'node:timers/promises';
import { anyProperties } from './groups.js';
import { clock, type ReceivedMessage, type Side } from './history.js';
import { countLoad, type LoadCounts } from './load-counts.js';
import { between, chance, pick, range } from './random.js';
import type { MessageToSend, RecordedQueue } from './recorded-queue.js';
import { RedriveLoad } from './redrive-load.js';

export interface LoadOptions {
  readonly seconds: number;
  readonly producers?: number;
  readonly consumers?: number;
  /** Redrives run all the time; consumers leave more dead letters to them, and pause now and then. */
  readonly redrives?: boolean;
  /** How many messages others have put, less those that they have deleted. */
  readonly backlogOfOthers?: () => number;
  /** Ends it before its time. */
  readonly signal?: AbortSignal;
  /** How fast producers may put; absent: as fast as they can. */
  readonly pace?: Pace;
}

/** Waits until so many more messages may be put. */
export type Pace = (messages: number) => Promise<void>;

export const UNPACED: Pace = () => Promise.resolve();

const CHANNELS = ['', '', '', 'amber', 'blue', 'coral', 'dove'] as const;
/** Above that the producers pause, so that consumers also wait for messages, and not only messages for consumers. */
const MAX_BACKLOG = 400;
/** Every nth message is never deleted in the queue where it can become a dead letter. */
const POISON_EVERY = 40;
/** And so many with redrives. */
const POISON_EVERY_WITH_REDRIVES = 10;

/** Puts, gets, extends, overruns, gives back, forgets and deletes for a while, on all pods of the queue at once. */
export async function runLoad(queue: RecordedQueue, options: LoadOptions): Promise<LoadCounts> {
  const { seconds, producers = 16, consumers = 16, redrives = false, backlogOfOthers = () => 0 } = options;
  const { signal, pace = UNPACED } = options;
  const until = clock() + seconds * 1000;
  const goesOn = (): boolean => clock() < until && signal?.aborted !== true;
  const redriving = redrives ? new RedriveLoad(queue, goesOn) : null;
  const load = new Load(queue, goesOn, redriving, backlogOfOthers, pace);
  await Promise.all([
    ...range(producers).map((index) => load.produce(index)),
    ...range(consumers).map((index) => load.consume(index)),
    redriving?.run(),
  ]);
  await load.handled();
  return countLoad(queue.operations, seconds);
}

/** Keys are never used twice, whatever runs in this process. */
let loads = 0;

class Load {
  private readonly name = `${(loads += 1)}`;
  private sent = 0;
  private stored = 0;
  private gone = 0;
  private readonly handling = new Set<Promise<void>>();

  constructor(
    private readonly queue: RecordedQueue,
    private readonly goesOn: () => boolean,
    private readonly redriving: RedriveLoad | null,
    private readonly backlogOfOthers: () => number,
    private readonly pace: Pace,
  ) {}

  async produce(pod: number): Promise<void> {
    while (this.goesOn()) {
      if (this.stored - this.gone + this.backlogOfOthers() > MAX_BACKLOG) {
        await sleep(20);
        continue;
      }
      const messages = range(chance(0.5) ? 1 : between(2, 20)).map(() => this.message(pod));
      await this.pace(messages.length);
      const signal = chance(0.01) ? AbortSignal.timeout(between(0, 10)) : undefined;
      const outcome = await this.queue.put(pod, messages, signal);
      await sleep(outcome === 'unknown' ? 50 : between(20, 200));
    }
  }

  /** The groups have consumers in turn. One of eight reads the dead letters. */
  async consume(index: number): Promise<void> {
    const { groups } = this.queue.rules;
    const pod = Math.floor(index / groups.length);
    const side = { group: groups[index % groups.length]?.name ?? '', deadLetter: pod % 8 === 7 };
    while (this.goesOn()) {
      if (this.redriving?.isPausing(side)) {
        await sleep(20);
        continue;
      }
      // Dead letters are there for redrives, and not in flight all the time.
      if (side.deadLetter && this.redriving !== null) await sleep(between(500, 3000));
      // With redrives few polls of the dead letters are lost, because each may explain that one was left out.
      const isAborted = chance(side.deadLetter && this.redriving !== null ? 0.01 : 0.1);
      const messages = await this.queue.get(pod, {
        ...side,
        limit: chance(0.4) ? 1 : between(2, 20),
        channelId: chance(0.3) ? (pick(CHANNELS.slice(3)) ?? null) : null,
        visibilityInSeconds: chance(0.2) ? 2 : null,
        timeoutInSeconds: pick([0, 1, 1, this.redriving === null ? 3 : 1]),
        // Some go away in the middle of a claim, some while they wait.
        ...(isAborted ? { signal: AbortSignal.timeout(chance(0.5) ? between(0, 15) : between(20, 400)) } : {}),
      });
      if (messages === null) await sleep(10);
      else if (messages.length === 0) await sleep(5);
      else this.track(this.handle(pod, messages, side));
    }
  }

  async handled(): Promise<void> {
    while (this.handling.size > 0) await Promise.all(this.handling);
  }

  private track(work: Promise<void>): void {
    const tracked = work.finally(() => this.handling.delete(tracked));
    this.handling.add(tracked);
  }

  private message(pod: number): MessageToSend {
    const { groups } = this.queue.rules;
    this.sent += 1;
    const isPoison = this.sent % (this.redriving === null ? POISON_EVERY : POISON_EVERY_WITH_REDRIVES) === 0;
    const properties = groups.length === 1 ? {} : anyProperties();
    this.stored += groups.filter(({ takes }) => takes(properties)).length;
    return {
      key: `${isPoison ? 'poison' : 'message'} ${this.name}/${pod}/${this.sent} ${'x'.repeat(between(0, 100))}`,
      channelId: pick(CHANNELS),
      properties,
      delayInSeconds: chance(0.05) ? 1 : 0,
    };
  }

  /** What consumers do with what they got: mostly well, sometimes late, sometimes not at all. */
  private async handle(pod: number, messages: readonly ReceivedMessage[], side: Side): Promise<void> {
    const { groups } = this.queue.rules;
    const neverDies = groups.some(({ name, deliveryLimit }) => name === side.group && deliveryLimit === 0);
    const good = messages
      .filter(({ key }) => side.deadLetter || neverDies || !key.startsWith('poison'))
      .map(({ receipt }) => receipt);
    const what = Math.random();
    if (good.length === 0 || what < 0.08) return;
    // Dead letters are left to the redrives, mostly.
    if (side.deadLetter && this.redriving !== null && chance(0.7)) return;
    if (what < 0.15) {
      await this.queue.update(pod, good, 0, side);
      return;
    }
    if (what < 0.25) {
      // Overruns: by the time it asks, some of it may be another's.
      await sleep(between(950, 2500));
      if (chance(0.5)) await this.queue.update(pod, good, 1, side);
    } else if (what < 0.37) {
      // Extends well before the end, and works beyond the first window.
      await sleep(between(0, 500));
      await this.queue.update(pod, good, 2, side);
      await sleep(between(800, 1500));
      if (chance(0.3)) await this.queue.update(pod, good, 1, side);
    } else {
      await sleep(between(0, 50));
    }
    // Some clients show their receipts where they are none; it must fail.
    if (chance(0.05)) await this.queue.update(pod, good, 0, this.elsewhere(side));
    if (chance(0.05)) await this.queue.delete(pod, good, this.elsewhere(side));
    await this.delete(pod, good, side);
    // Some repeat what was done already; it must fail too.
    if (chance(0.05)) await this.queue.update(pod + 1, good, 0, side);
    if (chance(0.05)) await this.queue.delete(pod + 1, good, side);
  }

  /** Another group, or the other side of this one. */
  private elsewhere({ group, deadLetter }: Side): Side {
    const other = pick(this.queue.rules.groups)?.name ?? '';
    return other === group ? { group, deadLetter: !deadLetter } : { group: other, deadLetter };
  }

  private async delete(pod: number, receipts: readonly string[], side: Side): Promise<void> {
    const singles = receipts.length <= 3 && chance(0.5);
    const outcomes = singles
      ? (await Promise.all(receipts.map((receipt) => this.queue.delete(pod, [receipt], side)))).flat()
      : await this.queue.delete(pod, receipts, side);
    this.gone += outcomes.filter((outcome) => outcome === 'done').length;
  }
}
