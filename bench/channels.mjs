// What a get costs with 1, 256 and 10,000 channels, and how often small channels are served beside a flooded one. All
// in one run, calls alternating, so that whatever else the machine does meets all of them. Ends by itself.
//
//   npm run bench:channels           1,000,000 messages in the flooded channel, on an embedded server of its own
//   BENCH_MESSAGES=100000 …          another backlog
//   BENCH_SKIP_SCAN=off …            as before PostgreSQL 18; BENCH_CALLS=100, because it takes long
import { MessageFunctions } from '../dist/database/message-functions.js';
import { PutFunctions } from '../dist/database/put-functions.js';
import { ChannelTurns } from '../dist/messages/channel-turns.js';
import { figures, median, openBench, say } from './support.mjs';

const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 1_000_000);
const CHANNELS = [1, 256, 10_000];
const CALLS = Number(process.env.BENCH_CALLS ?? 500);
/** `off`: as before PostgreSQL 18, with a look at each channel. */
const SKIP_SCAN = process.env.BENCH_SKIP_SCAN ?? 'on';
const WARM_UP = 50;
const BATCH = 2000;
const SMALL = 99;
const EACH = 10;
const PODS = 2;
const NO_DEAD_LETTERS = { deadLetterQueueDeliveryCount: 0 };

const message = (channelId) => ({
  content: Buffer.from('x'),
  channelId,
  properties: null,
  delayInSeconds: 0,
  sizeInBytes: 1,
});

const one = (queueId, after) => request(queueId, after, 1, 43_200);

const { database, value, makeQueue, close } = await openBench({
  settings: { fsync: 'off', 'towpath.skip_scan': SKIP_SCAN },
});
const functions = new MessageFunctions(database);
try {
  say('client and server on this machine, one connection at a time, prepared statements, fsync off, no analyze by us');
  say(`skip scan ${SKIP_SCAN}`);
  await costOfGets();
  await serviceRate();
} finally {
  await close();
}

async function costOfGets() {
  const queues = new Map();
  for (const channels of CHANNELS) queues.set(channels, await makeQueue(`${channels} channels`, NO_DEAD_LETTERS));
  // Enough for every call below: each takes one message.
  const perQueue = Math.max(20_000, ...CHANNELS);
  for (const [channels, queueId] of queues) await fill(queueId, perQueue, (n) => `c${n % channels}`);

  // Each call takes its turn, as a pod does.
  const turns = new Map([...queues].map(([channels]) => [channels, '']));
  await compare(
    'every channel has something visible: get of one message, next channel',
    queues,
    async (queueId, channels) => {
      const [got] = await functions.get(one(queueId, turns.get(channels)));
      turns.set(channels, got.channelId);
    },
  );
  // All delivered now, in every channel; one message is left, in a channel in the middle.
  for (const [, queueId] of queues) await hideAll(queueId);
  await compare(
    'all but one message in flight: get of that one, from the other side',
    queues,
    async (queueId) => {
      const [got] = await functions.get({ ...request(queueId, 'c4', 1, 0), visibilityInSeconds: 0 });
      if (got === undefined) throw new Error('nothing was delivered');
    },
    async (queueId) => showOne(queueId),
  );
  for (const [, queueId] of queues) await hideAll(queueId);
  await compare('everything in flight: a get that finds nothing', queues, async (queueId) => {
    if ((await functions.get(one(queueId, 'c4'))).length > 0) throw new Error('something was delivered');
  });
  await compare('everything in flight: when is the next message visible?', queues, async (queueId) => {
    await functions.millisecondsUntilVisible({ queueId, consumerGroupId: 0, deadLetter: false }, null);
  });
}

/** Small channels beside a flooded one: gets of one message, by as many pods, each with a turn of its own. */
async function serviceRate() {
  const queueId = await makeQueue('flooded', NO_DEAD_LETTERS);
  await fill(queueId, MESSAGES, () => 'flooded');
  await fill(queueId, SMALL * EACH, (n) => `small${n % SMALL}`);
  const alone = await makeQueue('one channel', NO_DEAD_LETTERS);
  await fill(alone, MESSAGES, () => 'flooded');
  const range = { queueId, consumerGroupId: 0, deadLetter: false };
  const pods = Array.from({ length: PODS }, () => new ChannelTurns());
  const served = new Map();
  const times = { flooded: [], alone: [] };
  let gets = 0;
  let left = SMALL * EACH;
  let inFlooded = 0;
  while (left > 0) {
    const turns = pods[gets % PODS];
    let start = performance.now();
    const [got] = await functions.get(request(queueId, turns.lastServed(range), 1, 43_200));
    times.flooded.push(performance.now() - start);
    turns.served(range, got.channelId);
    gets += 1;
    if (got.channelId === 'flooded') inFlooded += 1;
    else {
      left -= 1;
      served.set(got.channelId, (served.get(got.channelId) ?? 0) + 1);
    }
    start = performance.now();
    await functions.get(request(alone, '', 1, 43_200));
    times.alone.push(performance.now() - start);
    if (gets > 100_000) throw new Error('the small channels starve');
  }
  const perSmall = (SMALL * EACH) / SMALL / gets;
  say(
    `\none channel with ${MESSAGES} messages and ${SMALL} with ${EACH} each, ${PODS} pods in turn, gets of one message`,
  );
  say(`  the small channels were empty after ${gets} gets, ${inFlooded} of which the flooded channel got`);
  say(
    `  a small channel got ${(perSmall * 1000).toFixed(2)} of 1,000 gets, the flooded one ${((inFlooded / gets) * 1000).toFixed(2)}`,
  );
  say(`  service rate of a small channel against the flooded one: ratio ${(perSmall / (inFlooded / gets)).toFixed(2)}`);
  say(`  a get: ${figures(times.flooded)}; in a queue with one channel of ${MESSAGES}: ${figures(times.alone)}`);
  say(`  ratio of the medians: ${(median(times.flooded) / median(times.alone)).toFixed(2)}`);
}

async function compare(what, queues, call, before = async () => undefined) {
  const times = new Map([...queues].map(([channels]) => [channels, []]));
  for (const [, queueId] of queues) await before(queueId);
  for (let n = 0; n < CALLS + WARM_UP; n += 1) {
    for (const [channels, queueId] of queues) {
      const start = performance.now();
      await call(queueId, channels);
      // The first calls plan and fill caches.
      if (n >= WARM_UP) times.get(channels).push(performance.now() - start);
    }
  }
  say(`\n${what}, ${CALLS} calls each`);
  const first = median(times.get(CHANNELS[0]));
  for (const [channels, taken] of times) {
    say(
      `  ${String(channels).padStart(6)} channels: ${figures(taken)}; ratio of the medians ${(median(taken) / first).toFixed(2)}`,
    );
  }
}

function request(queueId, afterChannelId, limit, visibilityInSeconds) {
  const range = { queueId, consumerGroupId: 0, deadLetter: false };
  return {
    ...range,
    channelId: null,
    afterChannelId,
    limit,
    visibilityInSeconds,
    deliveredTo: 'bench',
    maxBytes: 2 ** 21,
  };
}

async function fill(queueId, count, channelOf) {
  for (let put = 0; put < count; put += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, count - put) }, (_, n) => message(channelOf(put + n)));
    await new PutFunctions(database).put(queueId, batch, 20_000);
  }
  // As the maintenance does within half a second.
  while ((await value('select towpath.fold_message_deltas($1) as value', [queueId])) > 0);
}

/** Everything is in flight for the next hour. */
async function hideAll(queueId) {
  await value(
    `with hidden as (
       update towpath.message set visible_after = now() + interval '1 hour', delivery_count = 1, receipt_number = 1
       where queue_id = $1 returning 1
     ) select count(*) as value from hidden`,
    [queueId],
  );
  // What the update left behind is not what is measured.
  await value('vacuum towpath.message');
}

async function showOne(queueId) {
  await value(
    `with shown as (
       update towpath.message set visible_after = now()
       where (queue_id, consumer_group_id, id) = (
         select queue_id, consumer_group_id, id from towpath.message where queue_id = $1 order by channel_id limit 1
       ) returning 1
     ) select count(*) as value from shown`,
    [queueId],
  );
}
