// The limit that Towpath is held against: Fastify and pg with nothing else. Puts, gets and deletes of one table, merged into
// common statements (two of a kind under way at a time), no credentials, no checks, no sealing, no queues. A program: it prints its address.
import Fastify from 'fastify';
import pg from 'pg';

const IN_FLIGHT = 2;
const MOST = 500;

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
pool.on('error', () => undefined);
await pool.query(`
  create table if not exists bare_message (
    id bigint generated always as identity primary key,
    content text not null,
    visible_after timestamptz not null default now(),
    delivery_count integer not null default 0
  );
  create index if not exists bare_message_visible_after on bare_message (visible_after);
`);

/** Sends what gathers while statements are under way as one: `run` gives one answer per request. */
function merger(run) {
  const waiting = [];
  let inFlight = 0;
  const start = () => {
    while (inFlight < IN_FLIGHT && waiting.length > 0) {
      const batch = waiting.splice(0, MOST);
      inFlight += 1;
      run(batch.map(({ request }) => request))
        .then(
          (answers) => batch.forEach(({ resolve }, index) => resolve(answers[index])),
          (error) => batch.forEach(({ reject }) => reject(error)),
        )
        .finally(() => {
          inFlight -= 1;
          start();
        });
    }
  };
  return (request) =>
    new Promise((resolve, reject) => {
      waiting.push({ request, resolve, reject });
      if (waiting.length === 1) setImmediate(start);
    });
}

function cut(rows, lengths) {
  let start = 0;
  return lengths.map((length) => rows.slice(start, (start += length)));
}

const put = merger(async (requests) => {
  const { rows } = await pool.query({
    name: 'put',
    text: 'insert into bare_message (content) select u from unnest($1::text[]) u returning id',
    values: [requests.flat()],
  });
  return cut(
    rows.map(({ id }) => Number(id)),
    requests.map(({ length }) => length),
  );
});

const get = merger(async (limits) => {
  const { rows } = await pool.query({
    name: 'get',
    // Materialized: a plan that ran the subquery again would claim more than was asked for, and nobody be given it.
    text: `with found as materialized (
             select id from bare_message
             where visible_after <= now() order by visible_after limit $1 for update skip locked
           )
           update bare_message m
           set visible_after = now() + interval '300 seconds', delivery_count = m.delivery_count + 1
           from found
           where m.id = found.id
           returning m.id, m.content, m.delivery_count`,
    values: [limits.reduce((sum, limit) => sum + limit, 0)],
  });
  return cut(rows, limits);
});

const remove = merger(async (requests) => {
  await pool.query({
    name: 'delete',
    text: 'delete from bare_message where id = any($1::bigint[])',
    values: [requests.flat()],
  });
  return requests.map(() => ({}));
});

const app = Fastify();
app.post('/messages', async ({ body }) => ({ messages: await put(body.messages.map(({ content }) => content)) }));
app.get('/messages', async ({ query }) => ({ messages: await get(Number(query.limit ?? 1)) }));
app.delete('/messages/:id', async ({ params }, reply) => {
  await remove([params.id]);
  return reply.code(204).send();
});
app.post('/messages/actions/deleteMessages', async ({ body }) => remove(body.ids));
process.stdout.write(`serves queues on ${await app.listen({ port: 0, host: '127.0.0.1' })}\n`);
process.once('SIGTERM', () => void app.close().then(() => pool.end()));
