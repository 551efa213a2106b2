import { setTimeout as sleep } from 'node:timers/promises';
import { clock, type GroupRules, type Side } from './history.js';
import { between, chance, pick } from './random.js';
import type { RecordedQueue } from './recorded-queue.js';

/** The consumers of a group pause for so long, so often: what is redriven then has been delivered to nobody yet. */
const PAUSE_MS = 2000;
const PAUSE_EVERY_MS = 6000;

/** The redrives of a load, and what they want of its consumers. */
export class RedriveLoad {
  private readonly startedAt = clock();
  private readonly groups: readonly GroupRules[];
  /** Receipts of dead letters that were left alone. */
  private kept: { readonly receipt: string; readonly group: string }[] = [];

  constructor(
    private readonly queue: RecordedQueue,
    private readonly until: number,
  ) {
    this.groups = queue.rules.groups;
  }

  /** One redrive after another: all groups or one, all channels or some, slowly or at once, some of them cancelled. */
  async run(): Promise<void> {
    const mortal = this.groups.filter(({ deliveryLimit }) => deliveryLimit > 0);
    for (let pod = 0; clock() < this.until; pod += 1) {
      await sleep(between(200, 1500));
      await this.queue.redrive(pod, {
        group: chance(0.4) ? null : (pick(mortal)?.name ?? ''),
        ...(chance(0.2) ? { channelIds: ['amber', 'dove'] } : {}),
        ...(chance(0.4) ? { messagesPerSecond: between(5, 30) } : {}),
        ...(chance(0.25) ? { cancelAfterMs: between(0, 1500) } : {}),
        isDryRun: chance(0.1),
      });
      await this.showKept(pod);
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
  keeps(receipts: readonly string[], { group }: Side): boolean {
    if (chance(0.3)) return false;
    this.kept.push(...receipts.map((receipt) => ({ receipt, group })));
    return true;
  }

  /** Who shows a receipt from before a redrive must find it dead, where the message is now and where it was. */
  private async showKept(pod: number): Promise<void> {
    const kept = this.kept;
    this.kept = [];
    await Promise.all(
      kept.map(async ({ receipt, group }) => {
        const side = { group, deadLetter: chance(0.2) };
        if (chance(0.5)) await this.queue.update(pod, [receipt], 0, side);
        else await this.queue.delete(pod, [receipt], side);
      }),
    );
  }
}
