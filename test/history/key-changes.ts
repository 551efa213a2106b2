import { setTimeout as sleep } from 'node:timers/promises';
import type { KeyMaintenance } from '../../src/encryption/key-maintenance.js';
import type { TestDatabase } from '../support/database.js';
import { Client, type Target } from './client.js';
import { clock } from './history.js';
import { pick } from './random.js';

export interface KeyChangeCounts {
  /** Rotations of the data key that were confirmed. */
  rotations: number;
  /** Changes of the master key that the queue names that were confirmed. */
  masterKeys: number;
  /** Data keys that were wrapped with another master key. */
  rewrapped: number;
  /** Changes whose pod was killed before it answered. */
  unknown: number;
  /** Messages that were found stored without a data key, which none may be. */
  unsealed: number;
}

/**
 * Changes the keys of a queue all the time: its data key on demand, the master key that it names (one of `masterKeyIds`,
 * '' for the one of the service), and with `maintenance` what its old data keys are wrapped with.
 */
export class KeyChanges {
  readonly counts: KeyChangeCounts = { rotations: 0, masterKeys: 0, rewrapped: 0, unknown: 0, unsealed: 0 };
  private readonly client: Client;

  constructor(
    target: Target,
    private readonly queueId: string,
    private readonly masterKeyIds: readonly string[],
    private readonly maintenance: Pick<KeyMaintenance, 'run'>,
    private readonly test: Pick<TestDatabase, 'sql'>,
  ) {
    this.client = new Client(target);
  }

  get surprises(): readonly string[] {
    return this.client.surprises;
  }

  moveTo(pod: number, url: string): void {
    this.client.moveTo(pod, url);
  }

  async run(until: number): Promise<void> {
    for (let turn = 0; clock() < until; turn += 1) {
      await (turn % 3 === 2 ? this.changeMasterKey(turn) : this.rotate(turn));
      if (turn % 5 === 4) {
        this.counts.rewrapped += (await this.maintenance.run()).rewrapped;
        const [row] = await this.test.sql<{ n: number }>(
          'select count(*)::int as n from towpath.message where key_id is null',
        );
        this.counts.unsealed += row?.n ?? 0;
      }
      await sleep(50);
    }
  }

  async rotate(pod: number): Promise<void> {
    const answer = await this.client.call(pod, 'POST', `/queues/${this.queueId}/actions/rotateDataKey`);
    if (answer.outcome === 'unknown') this.counts.unknown += 1;
    else if (answer.outcome === 'done') this.counts.rotations += 1;
  }

  private async changeMasterKey(pod: number): Promise<void> {
    const body = { customEncryptionKeyId: pick(this.masterKeyIds) };
    const answer = await this.client.call(pod, 'PUT', `/queues/${this.queueId}`, { body });
    if (answer.outcome === 'unknown') this.counts.unknown += 1;
    else if (answer.outcome === 'done') this.counts.masterKeys += 1;
  }
}
