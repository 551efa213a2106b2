import { startTestPods, type TestPods } from '../support/pod.js';
import { checkHistory } from './check.js';
import { runLoad } from './load.js';
import { settle } from './settle.js';
import { RecordedQueue } from './recorded-queue.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 30);
const LIMIT = 3;

describe('the queue under load, on two pods', () => {
  let pods: TestPods;

  beforeAll(async () => {
    pods = await startTestPods(2);
  });
  afterAll(() => pods.stop());

  it(
    'keeps every promise',
    async () => {
      const target = { urls: pods.pods.map(({ url }) => url), ...pods.credentials };
      const settings = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: LIMIT };
      const queue = await RecordedQueue.create(target, settings);
      const counts = await runLoad(queue, { seconds: SECONDS });
      await settle(queue, pods.test);
      process.stdout.write(`history of ${SECONDS} s: ${JSON.stringify(counts)}\n`);

      expect(checkHistory(queue.history)).toEqual([]);
      expect(queue.surprises).toEqual([]);
      expect(queue.unavailable).toEqual([]);
      // It must have exercised what it checks; a tenth of what an idle machine does is enough.
      expect(counts.messages).toBeGreaterThan(SECONDS * 20);
      expect(counts.redeliveries).toBeGreaterThan(SECONDS * 2);
      expect(counts.deadLetters).toBeGreaterThan(SECONDS / 6);
      expect(counts.abortedPolls).toBeGreaterThan(SECONDS / 3);
      expect(counts.extended).toBeGreaterThan(SECONDS);
      expect(counts.refused).toBeGreaterThan(SECONDS);
    },
    SECONDS * 1000 + 180_000,
  );
});
