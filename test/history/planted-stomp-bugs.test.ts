import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../pods/support.js';
import { checkHistories } from './check.js';
import { PROPERTIES, type Property } from './check/properties.js';
import { rewrite, TIMEOUT_MS } from './plant.js';
import { settle } from './settle.js';
import { runStompLoad } from './stomp/load.js';
import { StompStage } from './stomp/pods.js';

const SECONDS = 4;
/** Each client has so many connections, however slow the machine: what is given back shows where they end. */
const ROUNDS = 3;
/** So many clients have begun when a pod is killed: on a loaded machine there is nobody yet whom it could harm after half of the time. */
const SESSIONS = 10;
/** A loaded machine may not come to what shows the bug in the first run. */
const ATTEMPTS = 20;
const PLANTS = pathToFileURL(path.join(import.meta.dirname, 'stomp', 'plants.mjs'));

/** In the program of the pods, by its name in plants.mjs, with what it breaks. */
const IN_PODS: readonly [bug: string, ...properties: Property[]][] = [
  ['early receipt', PROPERTIES.lost],
  ['ack too much', PROPERTIES.lost],
  // Whichever half is left over.
  ['split transaction', PROPERTIES.transaction, PROPERTIES.nowhere],
  ['release of what is settled', PROPERTIES.holder],
];

/**
 * In the function that gives back, with what it breaks. (One that leaves receipts alive shows where a message is given back and
 * not yet delivered again, which is no time where others wait for it: test/sql/stomp.test.ts sees to that.)
 */
const IN_SQL: readonly [bug: string, property: Property, from: RegExp][] = [
  ['takes what others hold by now', PROPERTIES.holder, /and m\.receipt_number = v_entry\.receipt_number/],
];

/** Later than the timeouts of a second: by then others hold what is given back. */
const LATE: [from: RegExp, to: string] = [/^begin$/m, '$& perform pg_sleep(1.2);'];

async function isFound(properties: readonly Property[], stage: StompStage): Promise<boolean> {
  const { target, all } = stage;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const before = target.counts.sessions;
    const killing = sleep(SECONDS * 500)
      .then(() => until(() => target.counts.sessions >= before + SESSIONS, 'clients have connected'))
      .then(() => stage.kill(0));
    await Promise.all([runStompLoad(target, { seconds: SECONDS, leastRounds: ROUNDS }), killing]);
    // None of the bugs is about the statistics, which need not come to the truth.
    await Promise.all([...target.queues.values()].map((queue) => settle(queue, all.test, 0)));
    const histories = new Map([...target.queues].map(([name, { history }]) => [name, history]));
    const found = new Map<Property, number>();
    for (const each of checkHistories(histories, target.commits)) {
      found.set(each.property, (found.get(each.property) ?? 0) + 1);
    }
    process.stdout.write(
      `${expect.getState().currentTestName}, attempt ${attempt + 1}: ${JSON.stringify(Object.fromEntries(found))}\n`,
    );
    if (properties.some((property) => found.has(property))) return true;
  }
  return false;
}

describe('the history checker finds, over STOMP,', () => {
  let stage: StompStage | undefined;

  afterEach(() => stage?.stop());

  it.each(IN_PODS)(
    '%s',
    async (bug, ...properties) => {
      stage = await StompStage.start({ NODE_OPTIONS: `--import=${PLANTS.href}`, PLANTED_BUG: bug });
      expect(await isFound(properties, stage)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it.each(IN_SQL)(
    'a release that %s',
    async (_bug, property, from) => {
      stage = await StompStage.start();
      await rewrite(stage.all.test, 'give_back_messages', [from, ''], LATE);
      expect(await isFound([property], stage)).toBe(true);
    },
    TIMEOUT_MS,
  );
});
