import { startTestPods } from '../support/pod.js';
import { checkHistory } from './check.js';
import { PROPERTIES, type Property } from './check/properties.js';
import { GROUPS } from './groups.js';
import { runLoad } from './load.js';
import type { PlantedBug } from './planted/planted-bug.js';
import { RecordedQueue } from './recorded-queue.js';
import { settle } from './settle.js';

/*
 * Does the checker find what it is for? Each test of planted bugs plants one of `planted/` into its own database,
 * and runs the load of load.test.ts or groups-load.test.ts against it for some seconds.
 */

const SECONDS = 6;
/** A redrive comes after what has died, and what it broke is seen after that. */
const SECONDS_WITH_REDRIVES = 9;
/** A loaded machine may not come to what shows the bug in the first run. */
const ATTEMPTS = 8;
export const TIMEOUT_MS = 900_000;
const LIMIT = 3;
/**
 * What an aborted poll may explain is bounded tightly, so that it explains no bug away. On a loaded machine a poll may
 * go on for longer than that, which looks like a further bug: where that matters, it is given the time.
 */
const LINGER_MS = 500;

/** Which properties the planted bug breaks, and how often. Where those expected are not among them, the load gets more time. */
export async function propertiesBroken(
  { breaks, plant, lingerMs = LINGER_MS, deliveryLimit = LIMIT }: PlantedBug,
  { groups = false, redrives = false } = {},
): Promise<Map<Property, number>> {
  const pods = await startTestPods(2);
  try {
    await plant?.(pods.test);
    const target = { urls: pods.pods.map(({ url }) => url), ...pods.credentials };
    const settings = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: deliveryLimit, lingerMs };
    const queue = await RecordedQueue.create(target, { ...settings, groups: groups ? GROUPS : [] });
    const seconds = redrives ? SECONDS_WITH_REDRIVES : SECONDS;
    const consumers = groups ? 8 * (GROUPS.length + 1) : 16;
    const found = new Map<Property, number>();
    let attempts = 0;
    for (; attempts < ATTEMPTS && !breaks.some((property) => found.has(property)); attempts += 1) {
      await runLoad(queue, { seconds, consumers, redrives });
      // Most bugs keep the statistics from ever coming to the truth: only where that is what is broken it is waited for.
      await (breaks.includes(PROPERTIES.stats) ? settle(queue, pods.test) : settle(queue, pods.test, 0));
      found.clear();
      for (const { property } of checkHistory(queue.history)) found.set(property, (found.get(property) ?? 0) + 1);
    }
    process.stdout.write(
      `${expect.getState().currentTestName}, after ${attempts} × ${seconds} s: ${JSON.stringify(Object.fromEntries(found))}\n`,
    );
    return found;
  } finally {
    await pods.stop();
  }
}
