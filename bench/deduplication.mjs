// What a put costs that carries a deduplication id or a retry token, against one that carries none, in one run: the
// plain one must pay nothing, the others little. Puts of the kinds alternate in slices, so that whatever else the
// machine does meets all of them, over several connections with one put each under way. Ends by itself.
//
//   npm run bench:deduplication      20 s on an embedded server of its own, durable commits
//   BENCH_SECONDS=60 BENCH_CONNECTIONS=16 BENCH_MESSAGES=20 …
import { MaintenanceFunctions } from '../dist/database/maintenance-functions.js';
import { PutFunctions } from '../dist/database/put-functions.js';
import { openBench, percentile, say } from './support.mjs';

const SECONDS = Number(process.env.BENCH_SECONDS ?? 20);
const CONNECTIONS = Number(process.env.BENCH_CONNECTIONS ?? 8);
/** Of one put. */
const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 1);
const SLICE_MS = 250;
const BYTES = 200;
const FORGOTTEN = 100_000;

const rate = ({ ms, latencies }) => (latencies.length / ms) * 1000;

const { database, value, makeQueue, close } = await openBench({ connections: CONNECTIONS });
let puts = 0;
try {
  const functions = new PutFunctions(database);
  const queueId = await makeQueue('bench');
  const once = { retryToken: null, requestDigest: '0'.repeat(64) };
  const kinds = {
    'without (put_packed_messages)': () => functions.put(queueId, messages(), 256),
    'with deduplication ids': () => functions.putOnce(queueId, messages(true), 256, once),
    'with a retry token': () => functions.putOnce(queueId, messages(), 256, { ...once, retryToken: `t${(puts += 1)}` }),
    'repeats of one id': () => functions.putOnce(queueId, [{ ...messages()[0], deduplicationId: 'again' }], 256, once),
  };
  say(
    `client and server on this machine, ${CONNECTIONS} connections, ${MESSAGES} messages of ${BYTES} bytes per put, durable commits, ` +
      `slices of ${SLICE_MS} ms in turn for ${SECONDS} s`,
  );
  const taken = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, { ms: 0, latencies: [] }]));
  // The first slices plan and fill caches.
  for (const [, put] of Object.entries(kinds)) await slice(put);
  for (let spent = 0; spent < SECONDS * 1000; spent += SLICE_MS * Object.keys(kinds).length) {
    for (const [kind, put] of Object.entries(kinds)) {
      const { ms, latencies } = await slice(put);
      taken[kind].ms += ms;
      taken[kind].latencies.push(...latencies);
    }
  }
  const [plain] = Object.values(taken);
  for (const [kind, each] of Object.entries(taken)) {
    say(
      `  ${kind}: ${rate(each).toFixed(0)} puts/s, p50 ${percentile(each.latencies, 0.5).toFixed(2)} ms, ` +
        `p99 ${percentile(each.latencies, 0.99).toFixed(2)} ms; ratio to without: ${(rate(each) / rate(plain)).toFixed(2)}`,
    );
  }
  await forget(queueId);
} finally {
  await close();
}

function messages(hasIds = false) {
  return Array.from({ length: MESSAGES }, () => ({
    content: Buffer.alloc(BYTES, 'x'),
    channelId: '',
    properties: null,
    delayInSeconds: 0,
    sizeInBytes: BYTES,
    deduplicationId: hasIds ? `message-${(puts += 1)}` : null,
  }));
}

async function slice(put) {
  const latencies = [];
  const start = performance.now();
  const until = start + SLICE_MS;
  const client = async () => {
    while (performance.now() < until) {
      const begun = performance.now();
      await put();
      latencies.push(performance.now() - begun);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, client));
  return { ms: performance.now() - start, latencies };
}

/** How fast the maintenance could forget. */
async function forget(queueId) {
  await value('delete from towpath.deduplication');
  await value(
    `insert into towpath.deduplication (queue_id, forget_after, key, message_ids, expiries)
     select $1, now() - make_interval(secs => random()), 'id:' || g, '{1}', '{null}' from generate_series(1, ${FORGOTTEN}) g`,
    [queueId],
  );
  const maintenance = new MaintenanceFunctions(database);
  const start = performance.now();
  let rows = 0;
  for (;;) {
    const count = await maintenance.forgetDeduplications(5000);
    rows += count;
    if (count < 5000) break;
  }
  if (rows !== FORGOTTEN) throw new Error(`${rows} rows were forgotten`);
  say(
    `  forgetting: ${((rows / (performance.now() - start)) * 1000).toFixed(0)} rows/s, 5000 at a time, one connection`,
  );
}
