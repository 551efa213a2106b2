import { setTimeout as sleep } from 'node:timers/promises';
import { checkHistories } from './check.js';
import { keep } from './keep.js';
import { settle } from './settle.js';
import { runStompLoad } from './stomp/load.js';
import { StompStage } from './stomp/pods.js';

const SECONDS = Number(process.env['TOWPATH_HISTORY_SECONDS'] ?? 25);
/** Each client comes to each way of ending a connection, however slow the machine. */
const ROUNDS = 7;
/** It must have exercised what it checks. This follows from the rounds and not from the time. */
const LEAST = {
  messages: 300,
  deliveries: 300,
  releasedEarly: 5,
  deadLetters: 1,
  refused: 3,
  unknown: 50,
  sessions: 80,
  cuts: 20,
  killed: 0,
  commits: 7,
  unknownCommits: 0,
  refusedCommits: 0,
};

describe('STOMP and REST under load, on two pods', () => {
  let stage: StompStage;

  beforeAll(async () => {
    stage = await StompStage.start();
  });
  afterAll(() => stage.stop());

  /** A pod is killed, the other one stopped, and a further one killed, while there are clients. */
  async function endPods(): Promise<void> {
    const pause = (SECONDS * 1000) / 5;
    await sleep(pause);
    await stage.kill(0);
    await sleep(pause);
    await stage.terminate(1);
    await sleep(pause / 2);
    await stage.kill(1);
  }

  it(
    'keep every promise, whatever happens to connections and pods',
    async () => {
      const { target, all } = stage;
      const [figures] = await Promise.all([runStompLoad(target, { seconds: SECONDS, leastRounds: ROUNDS }), endPods()]);
      await Promise.all([...target.queues.values()].map((queue) => settle(queue, all.test)));
      const counts = { ...figures, ...target.counts };
      process.stdout.write(`history of STOMP, ${SECONDS} s: ${JSON.stringify(counts)}\n`);
      const histories = new Map([...target.queues].map(([name, { history }]) => [name, history]));
      const found = checkHistories(histories, target.commits);
      keep(found, Object.fromEntries(histories), { commits: target.commits });
      expect(found).toEqual([]);
      expect(target.surprises).toEqual([]);
      for (const { surprises } of target.queues.values()) expect(surprises).toEqual([]);
      const lacking = Object.entries(LEAST).filter(([name, least]) => counts[name as keyof typeof LEAST] <= least);
      expect(lacking).toEqual([]);
    },
    SECONDS * 1000 + 420_000,
  );
});
