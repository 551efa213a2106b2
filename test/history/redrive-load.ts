import { setTimeout as sleep } from 'node:timers/promises';
import { clock, type GroupRules, type Side } from './history.js';
import { between, chance, range } from './random.js';
import type { RecordedQueue } from './recorded-queue.js';

/** The longest poll of a load with redrives, and some time to answer it. */
const POLLS_END_MS = 1300;
/** Longer than a redrive takes: what it takes from a holder no end of the window explains. */
const HOLD_SECONDS = 15;

/** The redrives of a load, and what they want of its consumers. */
export class RedriveLoad {
  /** The consumers of this group pause: what is redriven there is delivered to nobody yet. */
  private pausing: string | null = null;
  /** Those that can have dead letters. */
  private readonly mortal: readonly GroupRules[];

  constructor(
    private readonly queue: RecordedQueue,
    private readonly goesOn: () => boolean,
  ) {
    this.mortal = queue.rules.groups.filter(({ deliveryLimit }) => deliveryLimit > 0);
  }

  /** One redrive after another: all groups or one, all channels or some, at once or slowly, and some cancelled. */
  async run(): Promise<void> {
    for (let round = 0; this.goesOn(); round += 1) {
      await sleep(between(100, 800));
      const group = this.mortal[(round + 1) % this.mortal.length]?.name ?? '';
      const some = [
        { group, messagesPerSecond: between(10, 40) },
        // Of all groups, since this one has hardly any dead letters left.
        { group: null, messagesPerSecond: 1, cancelAfterMs: between(200, 800) },
        { group: null, messagesPerSecond: 2, cancelAfterMs: between(0, 400) },
        { group: null },
        { group, channelIds: ['amber', 'dove'] },
        { group: null, isDryRun: true },
      ];
      await this.redriveBesideHolder(round, group);
      await this.redriveAndShow(round, group);
      await this.queue.redrive(round, { group, ...some[round % some.length] });
    }
  }

  /** Consumers of dead letters never do. */
  isPausing({ group, deadLetter }: Side): boolean {
    return !deadLetter && this.pausing === group;
  }

  /** A consumer has dead letters from before a redrive until after it: they are not the redrive's to take. */
  private async redriveBesideHolder(pod: number, group: string): Promise<void> {
    const side = { group, deadLetter: true };
    const get = { ...side, limit: 20, visibilityInSeconds: HOLD_SECONDS, timeoutInSeconds: 1 };
    const gets = await Promise.all(range(3).map(() => this.queue.get(pod, get)));
    const held = gets
      .map((messages) => (messages ?? []).map(({ receipt }) => receipt))
      .filter(({ length }) => length > 0);
    if (held.length > 0) await this.queue.redrive(pod, { group });
    await Promise.all(held.map((receipts) => this.queue.update(pod, receipts, 0, side)));
  }

  /**
   * A consumer takes dead letters and does nothing with them; they are redriven while nobody takes them from the queue.
   * Then it shows its receipts, which must be dead, where the messages are now and where they were.
   */
  private async redriveAndShow(pod: number, group: string): Promise<void> {
    this.pausing = group;
    const pausingSince = clock();
    const get = { group, deadLetter: true, limit: 20, visibilityInSeconds: 1, timeoutInSeconds: 1 };
    const gets = range(5).map(() => this.queue.get(pod, get));
    const held = (await Promise.all(gets)).flatMap((messages) => messages ?? []);
    const until = Math.max(pausingSince + POLLS_END_MS, ...held.map(({ visibleAfter }) => visibleAfter));
    await sleep(Math.max(0, until - clock()));
    await this.queue.redrive(pod, { group });
    await Promise.all(
      held.map(async ({ receipt }) => {
        const side = { group, deadLetter: chance(0.2) };
        if (chance(0.5)) await this.queue.update(pod, [receipt], 0, side);
        else await this.queue.delete(pod, [receipt], side);
      }),
    );
    this.pausing = null;
  }
}
