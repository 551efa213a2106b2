// getStats of a queue with a backlog against an empty queue, in one run: it must cost the same however many messages
// wait. Calls of the two alternate, so that whatever else the machine does meets both. Ends by itself.
//
//   npm run bench:stats              1,000,000 messages of 200 bytes on an embedded server of its own
//   BENCH_MESSAGES=100000 …          another backlog
import { MessageFunctions } from '../dist/database/message-functions.js';
import { PutFunctions } from '../dist/database/put-functions.js';
import { figures, median, openBench, say } from './support.mjs';

const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 1_000_000);
const BATCH = 2000;
const BYTES = 200;
const CALLS = 500;

// Filling is not what is measured, so it need not wait for the disk.
const { database, value, makeQueue, close } = await openBench({ settings: { fsync: 'off' } });
try {
  const functions = new MessageFunctions(database);
  const [backlog, empty] = [await makeQueue('backlog'), await makeQueue('empty')];
  await fill(new PutFunctions(database), backlog);
  say('client and server on this machine, one connection at a time, prepared statements, no analyze by us');
  await compare('changes not folded yet', functions, backlog, empty);
  while ((await value('select towpath.fold_message_deltas($1) as value', [backlog])) > 0);
  await compare('totals folded', functions, backlog, empty);
} finally {
  await close();
}

async function fill(functions, queueId) {
  const message = {
    content: Buffer.alloc(BYTES, 'x'),
    channelId: '',
    properties: null,
    delayInSeconds: 0,
    sizeInBytes: BYTES,
  };
  const batch = Array.from({ length: BATCH }, () => message);
  const start = performance.now();
  for (let put = 0; put < MESSAGES; put += BATCH) await functions.put(queueId, batch.slice(0, MESSAGES - put), 256);
  say(
    `put ${MESSAGES} messages of ${BYTES} bytes in ${((performance.now() - start) / 1000).toFixed(1)} s, ${BATCH} at a time`,
  );
}

async function compare(what, functions, backlog, empty) {
  const times = { backlog: [], empty: [] };
  for (let call = 0; call < CALLS + 50; call += 1) {
    for (const [name, queueId] of Object.entries({ backlog, empty })) {
      const start = performance.now();
      const stats = await functions.stats(queueId, 0, null);
      const took = performance.now() - start;
      const expected = name === 'backlog' ? MESSAGES : 0;
      if (stats.queue.visibleMessages !== expected) throw new Error(`${name}: ${JSON.stringify(stats)}`);
      // The first calls plan and fill caches.
      if (call >= 50) times[name].push(took);
    }
  }
  say(`\n${what}, ${CALLS} calls each`);
  say(`  ${MESSAGES} messages: ${figures(times.backlog)}`);
  say(`  empty queue: ${figures(times.empty)}`);
  say(`  ratio of the medians: ${(median(times.backlog) / median(times.empty)).toFixed(2)}`);
}
