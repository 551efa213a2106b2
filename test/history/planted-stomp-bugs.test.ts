import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../pods/support.js';
import { checkHistories } from './check.js';
import type { Property } from './check/properties.js';
import { TIMEOUT_MS } from './plant.js';
import { environmentFor } from './planted/planted-bug.js';
import { STOMP_BUGS } from './planted/stomp-bugs.js';
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

  it.each(STOMP_BUGS)(
    '$what',
    async (bug) => {
      stage = await StompStage.start(environmentFor(bug));
      await bug.plant?.(stage.all.test);
      expect(await isFound(bug.breaks, stage)).toBe(true);
    },
    TIMEOUT_MS,
  );
});
