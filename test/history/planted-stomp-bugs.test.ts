import { setTimeout as sleep } from 'node:timers/promises';
import { checkHistories } from './check.js';
import type { Property } from './check/properties.js';
import { TIMEOUT_MS } from './plant.js';
import { environmentFor } from './planted/planted-bug.js';
import { STOMP_BUGS } from './planted/stomp-bugs.js';
import { settle } from './settle.js';
import { runStompLoad } from './stomp/load.js';
import { StompStage } from './stomp/pods.js';

const SECONDS = 4;
/** A loaded machine may not come to what shows the bug in the first run. */
const ATTEMPTS = 20;

async function isFound(properties: readonly Property[], stage: StompStage): Promise<boolean> {
  const { target, all } = stage;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const killing = sleep(SECONDS * 500).then(() => stage.kill(0));
    await Promise.all([runStompLoad(target, { seconds: SECONDS }), killing]);
    for (const queue of target.queues.values()) await settle(queue, all.test);
    const histories = new Map([...target.queues].map(([name, { history }]) => [name, history]));
    const found = new Map<Property, number>();
    for (const each of checkHistories(histories, target.commits)) {
      found.set(each.property, (found.get(each.property) ?? 0) + 1);
    }
    process.stdout.write(`${expect.getState().currentTestName}: ${JSON.stringify(Object.fromEntries(found))}\n`);
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
