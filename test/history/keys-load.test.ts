import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { KeyMaintenance } from '../../src/encryption/key-maintenance.js';
import { createLogger } from '../../src/operations/log.js';
import { startPodProcesses, type PodProcesses } from '../pods/pod-process.js';
import { PROPERTIES, type Property } from './check/properties.js';
import { checkHistory } from './check.js';
import { clock } from './history.js';
import { KeyChanges } from './key-changes.js';
import { runLoad } from './load.js';
import { TIMEOUT_MS } from './plant.js';
import { rewrite } from './planted/planted-bug.js';
import { RecordedQueue } from './recorded-queue.js';
import { settle } from './settle.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 20);
const OLD_KEY = randomBytes(32).toString('base64');
const NEW_KEY = randomBytes(32).toString('base64');

describe('keys that change under load, on two pods', () => {
  let keys: string;
  let all: PodProcesses;
  /** Takes no requests. It wraps data keys with the new master key, which the other pods do once a minute. */
  let keeper: Pod;
  let dataDirectory: string;

  beforeEach(async () => {
    keys = await mkdtemp(path.join(tmpdir(), 'towpath-keys-'));
    dataDirectory = await mkdtemp(path.join(tmpdir(), 'towpath-pod-'));
    // All pods have both, whichever is the one in force: step 1 of replacing a master key in docs/security.md.
    await writeFile(path.join(keys, 'old.key'), OLD_KEY);
    await writeFile(path.join(keys, 'new.key'), NEW_KEY);
    await writeFile(path.join(keys, 'ours.key'), randomBytes(32).toString('base64'));
    all = await startPodProcesses(2, { TOWPATH_MASTER_KEY: OLD_KEY, TOWPATH_MASTER_KEY_DIRECTORY: keys });
    const configuration = readConfiguration({
      DATABASE_URL: all.test.url,
      TOWPATH_DATA_DIR: dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_LOG_LEVEL: 'silent',
      TOWPATH_MASTER_KEY: NEW_KEY,
      TOWPATH_MASTER_KEY_DIRECTORY: keys,
    });
    keeper = await startPod(configuration, all.test.url, createLogger('silent'));
  });
  afterEach(async () => {
    await keeper.stop();
    await all.stop();
    await rm(keys, { recursive: true, force: true });
    await rm(dataDirectory, { recursive: true, force: true });
  });

  async function loadWithChanges(seconds: number) {
    const target = { urls: all.pods.map(({ url }) => url), ...all.credentials };
    const queue = await RecordedQueue.create(target, { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3 });
    const changes = new KeyChanges(target, queue.id, ['ours', ''], keeper.app.get(KeyMaintenance), all.test);
    const until = clock() + seconds * 1000;
    const killing = sleep((seconds * 1000) / 3).then(async () => {
      // It dies with rotations under way, and comes back with the new master key: step 2.
      const rotations = [1, 2, 3, 4].map(() => changes.rotate(0));
      await all.pods[0]!.killed();
      await Promise.all(rotations);
      const again = await all.add({ TOWPATH_MASTER_KEY: NEW_KEY });
      queue.moveTo(0, again.url);
      changes.moveTo(0, again.url);
    });
    const [counts] = await Promise.all([runLoad(queue, { seconds }), changes.run(until), killing]);
    await settle(queue, all.test);
    process.stdout.write(
      `${expect.getState().currentTestName}, ${seconds} s: ${JSON.stringify({ ...counts, keys: changes.counts })}\n`,
    );
    const problems = new Map<Property, string[]>();
    for (const { property, key, what } of checkHistory(queue.history)) {
      problems.set(property, [...(problems.get(property) ?? []), `${key}: ${what}`].slice(0, 5));
    }
    return { queue, changes, counts, problems };
  }

  it(
    'lose nothing, show nothing, and leave the old master key',
    async () => {
      const { queue, changes, counts, problems } = await loadWithChanges(SECONDS);
      expect(problems).toEqual(new Map());
      expect(queue.surprises).toEqual([]);
      expect(changes.surprises).toEqual([]);
      expect(changes.counts.unsealed).toBe(0);
      // No pod has met a message that it could not open.
      for (const { url } of [all.pods[1]!, all.pods[2]!]) {
        const metrics = await (await fetch(new URL('/metrics', url))).text();
        expect(metrics).toMatch(/^towpath_unreadable_messages_total 0$/m);
      }
      // Step 3: nothing is left under the old one, once all pods have the new one.
      await all.pods[1]!.killed();
      await keeper.app.get(KeyMaintenance).run();
      const left = await all.test.sql<{ master_key_id: string; n: number }>(
        'select master_key_id, count(*)::int as n from towpath.data_key group by 1',
      );
      const [inForce] = await all.test.sql<{ id: string | null }>(
        'select custom_encryption_key_id as id from towpath.queue where ocid = $1',
        [queue.id],
      );
      expect(left).toHaveLength(1);
      expect(left[0]!.master_key_id).toMatch(inForce?.id === 'ours' ? /^ours$/ : /^local-/);
      expect(left[0]!.n).toBeGreaterThan(SECONDS / 4);
      // It must have exercised what it checks; a tenth of what an idle machine does is enough.
      expect(counts.messages).toBeGreaterThan(SECONDS * 10);
      expect(counts.redeliveries).toBeGreaterThan(SECONDS);
      expect(changes.counts.rotations).toBeGreaterThan(SECONDS / 4);
      expect(changes.counts.masterKeys).toBeGreaterThan(SECONDS / 8);
      expect(changes.counts.rewrapped).toBeGreaterThan(SECONDS / 8);
    },
    SECONDS * 1000 + 420_000,
  );

  it(
    'are missed where a rotation forgets the old key',
    async () => {
      await rewrite(all.test, 'rotate_data_key', [
        /update towpath\.data_key k set retired_at = v_now where/,
        'delete from towpath.data_key k where',
      ]);
      // What pods remember would hide it for minutes; the one that is killed remembers nothing.
      const { problems } = await loadWithChanges(9);
      expect([...problems.keys()]).toContain(PROPERTIES.lost);
    },
    TIMEOUT_MS,
  );
});
