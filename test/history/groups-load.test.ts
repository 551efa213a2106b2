import { setTimeout as sleep } from 'node:timers/promises';
import { startPodProcesses, type PodProcesses } from '../pods/pod-process.js';
import { checkHistory } from './check.js';
import { GROUPS } from './groups.js';
import { clock, type RedriveCall } from './history.js';
import { runLoad } from './load.js';
import { RecordedQueue } from './recorded-queue.js';
import { settle } from './settle.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 45);
/** A redrive of so many dead letters, in so many seconds, has a middle. */
const DEAD_LETTERS = 12;
const REDRIVE_SECONDS = 6;

describe('consumer groups and redrives under load, on two pods', () => {
  let all: PodProcesses;

  beforeAll(async () => {
    all = await startPodProcesses(2);
  });
  afterAll(() => all.stop());

  /** Kills the first pod in the middle of a redrive that it took, and starts it anew. */
  async function killInRedrive(queue: RecordedQueue, until: number): Promise<RedriveCall | null> {
    let killing: Promise<void> | null = null;
    const killAndRestart = async (): Promise<void> => {
      await all.pods[0]!.killed();
      // For a second there is only the other one.
      await sleep(1000);
      const again = await all.add();
      queue.moveTo(0, again.url);
    };
    // Another redrive may be running, or have left too few dead letters for a middle.
    while (clock() < until) {
      const [row] = await all.test.sql<{ n: number }>(
        'select count(*)::int as n from towpath.message where dead_letter',
      );
      const deadLetters = row?.n ?? 0;
      if (deadLetters >= DEAD_LETTERS) {
        const call = await queue.redrive(0, {
          group: null,
          messagesPerSecond: Math.ceil(deadLetters / REDRIVE_SECONDS),
          onProgress: ({ status, redrive }) => {
            if (status === 'IN_PROGRESS' && (redrive?.redriven ?? 0) > 0) killing ??= killAndRestart();
          },
        });
        if (killing !== null) {
          await (killing as Promise<void>);
          return call;
        }
      }
      await sleep(20);
    }
    return null;
  }

  it(
    'keep every promise, also when a pod is killed in the middle of a redrive',
    async () => {
      const target = { urls: all.pods.map(({ url }) => url), ...all.credentials };
      const settings = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3, groups: GROUPS };
      const queue = await RecordedQueue.create(target, settings);
      const until = clock() + SECONDS * 1000;
      const killing = sleep((SECONDS * 1000) / 3).then(() => killInRedrive(queue, until));
      const consumers = 8 * (GROUPS.length + 1);
      const counts = await runLoad(queue, { seconds: SECONDS, producers: 12, consumers, redrives: true });
      const interrupted = await killing;
      await settle(queue, all.test);
      process.stdout.write(`history of groups, ${SECONDS} s: ${JSON.stringify(counts)}\n`);

      expect(checkHistory(queue.history)).toEqual([]);
      expect(queue.surprises).toEqual([]);
      expect(interrupted).toMatchObject({ outcome: 'done', isComplete: true });
      // It must have exercised what it checks; a tenth of what an idle machine does is enough.
      expect(counts.messages).toBeGreaterThan(SECONDS * 10);
      expect(counts.deadLetters).toBeGreaterThan(SECONDS / 3);
      expect(counts.redrives).toBeGreaterThan(SECONDS / 15);
      expect(counts.redriven).toBeGreaterThan(SECONDS / 3);
      expect(counts.cutShort).toBeGreaterThan(0);
      expect(counts.unknown).toBeGreaterThan(SECONDS / 3);
      expect(counts.refused).toBeGreaterThan(SECONDS);
    },
    SECONDS * 1000 + 240_000,
  );
});
