// Lives of messages in other queues on PostgreSQL that come as packages of npm, each driven in the way that its documentation recommends.
// As in http.mjs: peers have a name and give `clients`.
import { EventEmitter } from 'node:events';
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { PgBoss } from 'pg-boss';

/** pg-boss: sent, fetched and completed in batches where there are batches. Completed ones stay in its table until its maintenance comes. */
export async function openPgBoss({ databaseUrl, connections = 10 }) {
  const boss = new PgBoss({ connectionString: databaseUrl, max: connections });
  boss.on('error', (error) => process.stderr.write(`pg-boss: ${error.message}\n`));
  await boss.start();
  return {
    name: 'pg-boss',
    async clients(count, queueName, bytes) {
      await boss.createQueue(queueName);
      const data = { content: 'x'.repeat(bytes) };
      const live = async (batch) => {
        if (batch === 1) await boss.send(queueName, data);
        else
          await boss.insert(
            queueName,
            Array.from({ length: batch }, () => ({ data })),
          );
        for (let left = batch; left > 0;) {
          const found = await boss.fetch(queueName, { batchSize: left });
          left -= found.length;
          if (found.length > 0)
            await boss.complete(
              queueName,
              found.map(({ id }) => id),
            );
        }
        return batch;
      };
      return Array.from({ length: count }, () => ({ live, close: () => undefined }));
    },
    stop: () => boss.stop({ graceful: false }),
  };
}

/** The settings of its page on performance. */
const WORKER = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};

/** graphile-worker: its runner takes what is added, and tells what is complete and gone from the table. One life ends then. */
export async function openGraphileWorker({ databaseUrl }) {
  const events = new EventEmitter();
  const waiting = new Map();
  events.on('job:complete', ({ job, error }) => {
    if (error) process.stderr.write(`graphile-worker: ${String(error)}\n`);
    const { id } = job.payload;
    waiting.get(id)?.();
    waiting.delete(id);
  });
  const preset = { worker: { ...WORKER, connectionString: databaseUrl } };
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ preset, logger });
  await utils.migrate();
  const runner = await run({
    preset,
    taskList: { message: () => undefined },
    events,
    noHandleSignals: true,
    logger,
  });
  let ids = 0;
  return {
    name: 'graphile-worker',
    async clients(count, _queueName, bytes) {
      const content = 'x'.repeat(bytes);
      const live = async (batch) => {
        const payloads = Array.from({ length: batch }, () => ({ id: (ids += 1), content }));
        const completed = payloads.map(({ id }) => new Promise((resolve) => waiting.set(id, resolve)));
        if (batch === 1) await utils.addJob('message', payloads[0]);
        else await utils.addJobs(payloads.map((payload) => ({ identifier: 'message', payload })));
        await Promise.all(completed);
        return batch;
      };
      return Array.from({ length: count }, () => ({ live, close: () => undefined }));
    },
    async stop() {
      await runner.stop();
      await utils.release();
    },
  };
}
