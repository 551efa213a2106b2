// Which indexes a pod uses, and how often, over a mix of requests as clients and operators send them: nothing is kept that only costs.
import pg from 'pg';
import { openTowpath } from '../peers/http.mjs';
import { withServer } from '../suite/server.mjs';
import { table } from './trial.mjs';
import { say } from '../support.mjs';

const SECONDS = 12;
/** Sessions tell what they have counted 10 seconds after they have become idle. */
const TELLING_MS = 10_500;

export const usage = {
  name: 'usage',
  // On a server of its own: a pod makes its first identity where there is no tenancy yet.
  run: (_trials, { quick }) => withServer((server) => measure(server, (quick ? SECONDS / 4 : SECONDS) * 1000)),
};

async function measure(server, ms) {
  const requests = await mix(await server.open(openTowpath(server)), ms);
  await new Promise((resolve) => setTimeout(resolve, TELLING_MS));
  const client = new pg.Client({ connectionString: server.databaseUrl });
  await client.connect();
  const { rows } = await client.query(
    `select indexrelname as name, idx_scan as scans, idx_tup_read as entries, idx_tup_fetch as rows, pg_relation_size(indexrelid) / 1024 as kb
     from pg_stat_user_indexes where relname like 'message%' or relname in ('deduplication', 'queue', 'data_key', 'purge')
     order by relname, idx_scan desc`,
  );
  await client.end();
  say(`\nindexes that a mix of ${requests} requests used`);
  table([
    ['', 'scans', 'entries read', 'rows fetched', 'kB'],
    ...rows.map(({ name, scans, entries, rows: fetched, kb }) => [name, scans, entries, fetched, kb]),
  ]);
}

const message = (extra) => ({ messages: [{ content: 'usage', ...extra }] });

/** Lives, delays, updates, channels, deliveries that time out into the dead letter queue, looks, a redrive, a purge. */
async function mix(towpath, ms) {
  const settings = { deadLetterQueueDeliveryCount: 1, deduplicationWindowInSeconds: 60 };
  const clients = await towpath.clients(8, 'usage', 200, settings);
  const { client, queue } = await towpath.operator('usage');
  const target = `${queue}/messages`;
  let requests = 0;
  const call = (method, to, details) => {
    requests += 1;
    return client(method, to, details === undefined ? '' : JSON.stringify(details));
  };
  const end = performance.now() + ms;
  const living = Promise.all(
    clients.map(async ({ live }) => {
      for (let n = 0; performance.now() < end; n += 1) requests += 2 + (await live(n % 4 === 0 ? 10 : 1));
    }),
  );
  for (let n = 0; performance.now() < end; n += 1) {
    await call('POST', target, message({ metadata: { channelId: `c${n % 5}` } }));
    await call('POST', target, message({ metadata: { channelId: 'late' }, delayInSeconds: 60 }));
    await call('POST', target, message({ metadata: { channelId: 'once' }, deduplicationId: `id-${n}` }));
    const { messages } = await call(
      'GET',
      `${target}?channelFilter=c${n % 5}&limit=2&visibilityInSeconds=1&timeoutInSeconds=0`,
    );
    const [first] = messages;
    if (first !== undefined) await call('PUT', `${target}/${first.receipt}`, { visibilityInSeconds: 1 });
    if (n % 10 !== 0) continue;
    await call('GET', `${queue}/stats`);
    await call('GET', `${queue}/channels`);
    await call('GET', `${target}/actions/peekMessages?limit=20`);
    await call('GET', `${queue}%2Fdlq/messages/actions/peekMessages?limit=20`);
    await call('GET', `${queue}%2Fdlq/messages?limit=2&visibilityInSeconds=1&timeoutInSeconds=0`);
  }
  await living;
  await call('POST', `${queue}/deadLetters/actions/redrive`, {});
  for (const each of clients) each.close();
  client.close();
  return requests;
}
