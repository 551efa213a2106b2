import { setTimeout as sleep } from 'node:timers/promises';
import { startPodProcesses, type PodProcesses } from '../pods/pod-process.js';
import { checkHistory } from './check.js';
import { keep } from './keep.js';
import { GROUPS } from './groups.js';
import { clock, type RedriveCall } from './history.js';
import { lacking, type LoadCounts } from './load-counts.js';
import { runLoad } from './load.js';
import { RecordedQueue } from './recorded-queue.js';
import { settle } from './settle.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 45);
/** A redrive of so many dead letters, in so many seconds, has a middle. */
const DEAD_LETTERS = 12;
const REDRIVE_SECONDS = 6;
/** It must have exercised what it checks; a tenth of what an idle machine does is enough. */
const LEAST = {
  messages: SECONDS * 10,
  deadLetters: SECONDS / 3,
  redrives: SECONDS / 15,
  redriven: SECONDS / 3,
  cutShort: 0,
  unknown: SECONDS / 3,
  refused: SECONDS,
};
/** A loaded machine may not come to that, or to a redrive in whose middle a pod can be killed, in the first run. */
const ATTEMPTS = 5;

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
      const consumers = 8 * (GROUPS.length + 1);
      let interrupted: RedriveCall | null = null;
      const run = async (): Promise<LoadCounts> => {
        const until = clock() + SECONDS * 1000;
        const killing = sleep((SECONDS * 1000) / 3).then(() => interrupted ?? killInRedrive(queue, until));
        const counted = await runLoad(queue, { seconds: SECONDS, producers: 12, consumers, redrives: true });
        interrupted = await killing;
        return counted;
      };
      let counts = await run();
      for (let again = 1; again < ATTEMPTS; again += 1) {
        if (interrupted === null || lacking(counts, LEAST).length > 0) counts = await run();
      }
      await settle(queue, all.test);
      process.stdout.write(`history of groups, ${SECONDS} s: ${JSON.stringify(counts)}\n`);

      const found = checkHistory(queue.history);
      keep(found, { queue: queue.history });
      expect(found).toEqual([]);
      expect(queue.surprises).toEqual([]);
      expect(interrupted).toMatchObject({ outcome: 'done', isComplete: true });
      expect(lacking(counts, LEAST)).toEqual([]);
    },
    ATTEMPTS * SECONDS * 1000 + 420_000,
  );
});
