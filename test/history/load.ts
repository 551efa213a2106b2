import { setTimeout as sleep } from 'node:timers/promises';
import type { TestDatabase } from '../support/database.js';
import { clock, type Operation, type ReceivedMessage } from './history.js';
import type { MessageToSend, RecordedQueue } from './recorded-queue.js';

export interface LoadOptions {
  readonly seconds: number;
  readonly producers?: number;
  readonly consumers?: number;
}

/** What a run exercised. */
export interface LoadCounts {
  readonly messages: number;
  readonly deliveries: number;
  readonly redeliveries: number;
  readonly deadLetters: number;
  readonly abortedPolls: number;
  readonly extended: number;
  readonly refused: number;
  readonly unknown: number;
  readonly lifecyclesPerSecond: number;
}

const CHANNELS = ['', '', '', 'amber', 'blue', 'coral', 'dove'];
/** Above that the producers pause, so that consumers also wait for messages, and not only messages for consumers. */
const MAX_BACKLOG = 400;
/** Every nth message is never deleted in the queue, so that it becomes a dead letter. */
const POISON_EVERY = 40;
const SETTLE_MS = 30_000;
const STATS_MS = 5000;

/** Puts, gets, extends, overruns, gives back, forgets and deletes for a while, on all pods of the queue at once. */
export async function runLoad(queue: RecordedQueue, options: LoadOptions): Promise<LoadCounts> {
  const { seconds, producers = 16, consumers = 16 } = options;
  const load = new Load(queue, clock() + seconds * 1000);
  await Promise.all([
    ...range(producers).map((index) => load.produce(index)),
    // Two of sixteen read the dead letter queue.
    ...range(consumers).map((index) => load.consume(index, index % 8 === 7)),
  ]);
  await load.handled();
  return count(queue.operations, seconds);
}

/**
 * Waits until nothing is hidden and every message is where it belongs, reads the statistics, takes and deletes all that
 * is left, and reads the statistics again. After this the history is complete.
 */
export async function settle(queue: RecordedQueue, { sql }: Pick<TestDatabase, 'sql'>): Promise<void> {
  const all = `from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1`;
  const number = async (what: string): Promise<number> => {
    const [row] = await sql<{ n: number }>(`select count(*)::int as n ${all} ${what}`, [queue.id]);
    return row?.n ?? 0;
  };
  const unsettled = `and (m.visible_after > clock_timestamp() or (not m.dead_letter and m.delivery_count >= m.delivery_limit))`;
  const deadline = clock() + SETTLE_MS;
  while ((await number(unsettled)) > 0 && clock() < deadline) await sleep(50);
  const [live, dead] = [await number('and not m.dead_letter'), await number('and m.dead_letter')];
  await queue.stats(({ visibleMessages }, dlq) => visibleMessages === live && dlq.visibleMessages === dead, STATS_MS);
  await drain(queue, async () => (await number('')) === 0);
  await queue.stats((figures, dlq) => figures.sizeInBytes + dlq.sizeInBytes + figures.inFlightMessages === 0, STATS_MS);
}

async function drain(queue: RecordedQueue, isEmpty: () => Promise<boolean>): Promise<void> {
  const deadline = clock() + SETTLE_MS;
  while (!(await isEmpty()) && clock() < deadline) {
    for (const deadLetter of [false, true]) {
      for (;;) {
        const options = { deadLetter, limit: 20, visibilityInSeconds: 30, isFinal: true };
        const messages = await queue.get(0, options);
        if (messages === null || messages.length === 0) break;
        const receipts = messages.map(({ receipt }) => receipt);
        await queue.delete(0, receipts, deadLetter);
      }
    }
  }
}

/** Keys are never used twice, whatever runs in this process. */
let loads = 0;

class Load {
  private readonly name = `${(loads += 1)}`;
  private sent = 0;
  private gone = 0;
  private readonly handling = new Set<Promise<void>>();

  constructor(
    private readonly queue: RecordedQueue,
    private readonly until: number,
  ) {}

  async produce(pod: number): Promise<void> {
    while (clock() < this.until) {
      if (this.sent - this.gone > MAX_BACKLOG) {
        await sleep(20);
        continue;
      }
      const messages = range(chance(0.5) ? 1 : between(2, 20)).map(() => this.message(pod));
      const signal = chance(0.01) ? AbortSignal.timeout(between(0, 10)) : undefined;
      const outcome = await this.queue.put(pod, messages, signal);
      await sleep(outcome === 'unknown' ? 50 : between(20, 200));
    }
  }

  async consume(pod: number, deadLetter: boolean): Promise<void> {
    while (clock() < this.until) {
      const isAborted = chance(0.1);
      const messages = await this.queue.get(pod, {
        deadLetter,
        limit: chance(0.4) ? 1 : between(2, 20),
        channelId: chance(0.3) ? (pick(CHANNELS.slice(3)) ?? null) : null,
        visibilityInSeconds: chance(0.2) ? 2 : null,
        timeoutInSeconds: pick([0, 1, 1, 3]) ?? 1,
        // Some go away in the middle of a claim, some while they wait.
        ...(isAborted ? { signal: AbortSignal.timeout(chance(0.5) ? between(0, 15) : between(20, 400)) } : {}),
      });
      if (messages === null) await sleep(10);
      else if (messages.length === 0) await sleep(5);
      else this.track(this.handle(pod, messages, deadLetter));
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
    this.sent += 1;
    const isPoison = this.sent % POISON_EVERY === 0;
    return {
      key: `${isPoison ? 'poison' : 'message'} ${this.name}/${pod}/${this.sent} ${'x'.repeat(between(0, 100))}`,
      channelId: pick(CHANNELS) ?? '',
      delayInSeconds: chance(0.05) ? 1 : 0,
    };
  }

  /** What consumers do with what they got: mostly well, sometimes late, sometimes not at all. */
  private async handle(pod: number, messages: readonly ReceivedMessage[], dlq: boolean): Promise<void> {
    const good = messages.filter(({ key }) => dlq || !key.startsWith('poison')).map(({ receipt }) => receipt);
    const what = Math.random();
    if (good.length === 0 || what < 0.08) return;
    if (what < 0.15) {
      await this.queue.update(pod, good, 0, dlq);
      return;
    }
    if (what < 0.25) {
      // Overruns: by the time it asks, some of it may be another's.
      await sleep(between(950, 2500));
      if (chance(0.5)) await this.queue.update(pod, good, 1, dlq);
    } else if (what < 0.37) {
      // Extends well before the end, and works beyond the first window.
      await sleep(between(0, 500));
      await this.queue.update(pod, good, 2, dlq);
      await sleep(between(800, 1500));
      if (chance(0.3)) await this.queue.update(pod, good, 1, dlq);
    } else {
      await sleep(between(0, 50));
    }
    await this.delete(pod, good, dlq);
    // Some clients repeat what was done already; it must fail.
    if (chance(0.05)) await this.queue.update(pod + 1, good, 0, dlq);
    if (chance(0.05)) await this.queue.delete(pod + 1, good, dlq);
  }

  private async delete(pod: number, receipts: readonly string[], dlq: boolean): Promise<void> {
    const singles = receipts.length <= 3 && chance(0.5);
    const outcomes = singles
      ? (await Promise.all(receipts.map((receipt) => this.queue.delete(pod, [receipt], dlq)))).flat()
      : await this.queue.delete(pod, receipts, dlq);
    this.gone += outcomes.filter((outcome) => outcome === 'done').length;
  }
}

function count(operations: readonly Operation[], seconds: number): LoadCounts {
  const gets = operations.filter((each) => each.kind === 'get');
  const deliveries = gets.flatMap(({ deadLetter, messages }) => messages.map((each) => ({ ...each, deadLetter })));
  const updates = operations.filter((each) => each.kind === 'update');
  const deletes = operations.filter((each) => each.kind === 'delete');
  const receipts = [...updates, ...deletes];
  return {
    messages: operations.reduce((sum, each) => sum + (each.kind === 'put' ? each.messages.length : 0), 0),
    deliveries: deliveries.length,
    redeliveries: deliveries.filter(({ deadLetter, deliveryCount }) => !deadLetter && deliveryCount > 1).length,
    deadLetters: new Set(deliveries.filter(({ deadLetter }) => deadLetter).map(({ key }) => key)).size,
    abortedPolls: gets.filter(({ outcome }) => outcome === 'unknown').length,
    extended: updates.filter(({ outcome, visibilityInSeconds }) => outcome === 'done' && visibilityInSeconds > 0)
      .length,
    refused: receipts.filter(({ outcome }) => outcome === 'refused').length,
    unknown: operations.filter(({ outcome }) => outcome === 'unknown').length,
    lifecyclesPerSecond: Math.round(deletes.filter(({ outcome }) => outcome === 'done').length / seconds),
  };
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}

function chance(share: number): boolean {
  return Math.random() < share;
}

/** A whole number from `low` to `high`. */
function between(low: number, high: number): number {
  return low + Math.floor(Math.random() * (high - low + 1));
}

function pick<Item>(items: readonly Item[]): Item | undefined {
  return items[Math.floor(Math.random() * items.length)];
}
