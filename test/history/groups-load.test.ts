import { startPodProcesses, type PodProcesses } from '../pods/pod-process.js';
import { checkHistory } from './check.js';
import { GROUPS } from './groups.js';
import { runLoad } from './load.js';
import { RecordedQueue } from './recorded-queue.js';
import { settle } from './settle.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 45);

describe('consumer groups under load, on two pods', () => {
  let all: PodProcesses;

  beforeAll(async () => {
    all = await startPodProcesses(2);
  });
  afterAll(() => all.stop());

  it(
    'keep every promise',
    async () => {
      const target = { urls: all.pods.map(({ url }) => url), ...all.credentials };
      const settings = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3, groups: GROUPS };
      const queue = await RecordedQueue.create(target, settings);
      const counts = await runLoad(queue, { seconds: SECONDS, producers: 12, consumers: 8 * (GROUPS.length + 1) });
      await settle(queue, all.test);
      process.stdout.write(`history of groups, ${SECONDS} s: ${JSON.stringify(counts)}\n`);
      expect(checkHistory(queue.history)).toEqual([]);
      expect(queue.surprises).toEqual([]);
      expect(queue.unavailable).toEqual([]);
    },
    SECONDS * 1000 + 180_000,
  );
});
