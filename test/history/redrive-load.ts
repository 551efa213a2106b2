import { setTimeout as sleep } from 'node:timers/promises';
import { clock, type GroupRules, type ReceivedMessage, type Side } from './history.js';
import { between, chance, pick } from './random.js';
import type { RecordedQueue } from './recorded-queue.js';

/** The consumers of a group pause for so long, so often: what is redriven then has been delivered to nobody yet. */
const PAUSE_MS = 2000;
const PAUSE_EVERY_MS = 6000;

/** The redrives of a load, and what they want of its consumers. */
export class RedriveLoad {
  private readonly startedAt = clock();
  private readonly groups: readonly GroupRules[];
  /** Dead letters that were left alone, with their receipts. */
  private kept: (ReceivedMessage & Pick<Side, 'group'>)[] = [];

  constructor(
    private readonly queue: RecordedQueue,
    private readonly until: number,
  ) {
    this.groups = queue.rules.groups;
  }

  /** One redrive after another: all groups or one, all channels or some, at once or slowly, and some cancelled. */
  async run(): Promise<void> {
    for (let round = 0; clock() < this.until; round += 1) {
      await sleep(between(100, 800));
      const group = this.anyGroup();
      const some = [
        { group },
        { group: null, messagesPerSecond: between(10, 40) },
        { group },
        { group: null, messagesPerSecond: 4, cancelAfterMs: between(200, 800) },
        { group, ...(chance(0.5) ? { channelIds: ['amber', 'dove'] } : {}) },
        { group: null },
      ];
      const startedAt = clock();
      await this.queue.redrive(round, { group, ...some[round % some.length], isDryRun: chance(0.1) });
      await this.showKept(round, startedAt);
    }
  }

  /** For how long yet the consumers of this side do not pause; 0: they do. Those of dead letters never do. */
  openMs({ group, deadLetter }: Side): number {
    if (deadLetter) return Infinity;
    const index = this.groups.findIndex(({ name }) => name === group);
    const shift = (index * PAUSE_EVERY_MS) / this.groups.length;
    const at = (clock() - this.startedAt + shift) % PAUSE_EVERY_MS;
    return Math.max(0, PAUSE_EVERY_MS - PAUSE_MS - at);
  }

  /** True: a consumer leaves these dead letters alone, and keeps the receipts. */
  keeps(messages: readonly ReceivedMessage[], { group }: Side): boolean {
    if (chance(0.3)) return false;
    this.kept.push(...messages.map((message) => ({ ...message, group })));
    return true;
  }

  /** One that can have dead letters; one whose consumers pause, if there is one. */
  private anyGroup(): string {
    const mortal = this.groups.filter(({ deliveryLimit }) => deliveryLimit > 0);
    const pausing = mortal.filter(({ name }) => this.openMs({ group: name, deadLetter: false }) <= 0);
    return pick(pausing.length > 0 ? pausing : mortal)?.name ?? '';
  }

  /**
   * Who shows a receipt from before a redrive must find it dead, where the message is now and where it was. Those of dead
   * letters that were in flight when it started are for the next one.
   */
  private async showKept(pod: number, startedAt: number): Promise<void> {
    const shown = this.kept.filter(({ visibleAfter }) => visibleAfter < startedAt);
    this.kept = this.kept.filter(({ visibleAfter }) => visibleAfter >= startedAt);
    await Promise.all(
      shown.map(async ({ receipt, group }) => {
        const side = { group, deadLetter: chance(0.2) };
        if (chance(0.5)) await this.queue.update(pod, [receipt], 0, side);
        else await this.queue.delete(pod, [receipt], side);
      }),
    );
  }
}
