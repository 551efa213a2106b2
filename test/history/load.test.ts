import { startTestPods, type TestPods } from '../support/pod.js';
import { checkHistory } from './check.js';
import { keep } from './keep.js';
import { lacking } from './load-counts.js';
import { runLoad } from './load.js';
import { settle } from './settle.js';
import { RecordedQueue } from './recorded-queue.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 30);
const LIMIT = 3;
/** It must have exercised what it checks; a tenth of what an idle machine does is enough. */
const LEAST = {
  messages: SECONDS * 20,
  redeliveries: SECONDS * 2,
  deadLetters: SECONDS / 6,
  abortedPolls: SECONDS / 3,
  extended: SECONDS,
  refused: SECONDS,
};
/** A loaded machine may not come to that in the first run. */
const ATTEMPTS = 3;

describe('the queue under load, on two pods', () => {
  let pods: TestPods;

  beforeAll(async () => {
    // Nothing is away here. A machine that is busy for seconds must not look like it.
    pods = await startTestPods(2, { TOWPATH_DATABASE_WAIT_SECONDS: '30' });
  });
  afterAll(() => pods.stop());

  it(
    'keeps every promise',
    async () => {
      const target = { urls: pods.pods.map(({ url }) => url), ...pods.credentials };
      const settings = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: LIMIT };
      const queue = await RecordedQueue.create(target, settings);
      let counts = await runLoad(queue, { seconds: SECONDS });
      for (let attempt = 1; attempt < ATTEMPTS && lacking(counts, LEAST).length > 0; attempt += 1) {
        counts = await runLoad(queue, { seconds: SECONDS });
      }
      await settle(queue, pods.test);
      process.stdout.write(`history of ${SECONDS} s: ${JSON.stringify(counts)}\n`);

      const found = checkHistory(queue.history);
      keep(found, { queue: queue.history });
      expect(found).toEqual([]);
      expect(queue.surprises).toEqual([]);
      expect(queue.unavailable).toEqual([]);
      expect(lacking(counts, LEAST)).toEqual([]);
    },
    ATTEMPTS * SECONDS * 1000 + 420_000,
  );
});
