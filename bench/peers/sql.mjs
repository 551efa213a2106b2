// Lives of messages (put, get, delete) by SQL directly, one transaction per operation: Towpath's own functions, and pgmq.
import { readFile } from 'node:fs/promises';
import pg from 'pg';

/** Towpath's SQL functions, with as many connections as a pod has by default. */
export async function openDirectSql({ databaseUrl }) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 10 });
  return {
    name: 'own SQL',
    async clients(count, queueName, bytes) {
      const { rows } = await pool.query(
        `select (towpath.create_queue(t.id, jsonb_build_object('displayName', $1::text, 'compartmentId', t.id, 'visibilityInSeconds', 300))).queue_id as id
         from towpath.create_tenancy('sql-' || $1::text) t`,
        [queueName],
      );
      const queue = rows[0].id;
      const run = async (name, text, values) => (await pool.query({ name, text, values })).rows;
      const live = async (batch) => {
        await run('put', 'select id from towpath.put_packed_messages($1, $2, $3, $4, $5, $6, $7)', [
          queue,
          Buffer.alloc(batch * bytes, 'x'),
          ...columns(batch, bytes),
        ]);
        for (let left = batch; left > 0;) {
          const found = await run(
            'get',
            'select id, receipt_number, body from towpath.get_messages($1, channel_id => $2, max_messages => $3)',
            [queue, '', left],
          );
          left -= found.length;
          if (found.length === 0) continue;
          await run('delete', 'select * from towpath.delete_messages($1, 0, false, $2, $3)', [
            queue,
            found.map(({ id }) => id),
            found.map(({ receipt_number: number }) => number),
          ]);
        }
        return batch;
      };
      return Array.from({ length: count }, () => ({ live, close: () => undefined }));
    },
    stop: () => pool.end(),
  };
}

function columns(batch, bytes) {
  const all = (value) => Array.from({ length: batch }, () => value);
  return [all(bytes), all(''), all(null), all(0), all(bytes)];
}

/** pgmq by its own functions, with one connection per client; `sqlFile` is its SQL file (pgmq-extension/sql/pgmq.sql). */
export async function openPgmq({ databaseUrl, sqlFile }) {
  const setUp = new pg.Client({ connectionString: databaseUrl });
  await setUp.connect();
  await setUp.query('create schema if not exists pgmq');
  await setUp.query(await readFile(sqlFile, 'utf8'));
  const open = new Set();
  const end = (client) => (open.delete(client) ? client.end() : undefined);
  return {
    name: 'pgmq',
    async clients(count, queueName, bytes) {
      const queue = queueName.replaceAll('-', '_');
      await setUp.query('select pgmq.create($1)', [queue]);
      const message = JSON.stringify({ content: 'x'.repeat(bytes) });
      return Promise.all(
        Array.from({ length: count }, async () => {
          const client = new pg.Client({ connectionString: databaseUrl });
          await client.connect();
          open.add(client);
          const run = async (name, text, values) => (await client.query({ name, text, values })).rows;
          const live = async (batch) => {
            if (batch === 1) await run('send', 'select * from pgmq.send($1, $2::jsonb)', [queue, message]);
            else
              await run('send_batch', 'select * from pgmq.send_batch($1, $2::jsonb[])', [
                queue,
                Array.from({ length: batch }, () => message),
              ]);
            for (let left = batch; left > 0;) {
              const found = await run('read', 'select msg_id, message from pgmq.read($1, 300, $2)', [queue, left]);
              left -= found.length;
              const [first] = found;
              if (found.length === 1) await run('delete', 'select pgmq.delete($1, $2::bigint)', [queue, first.msg_id]);
              else if (found.length > 1)
                await run('delete_many', 'select * from pgmq.delete($1, $2::bigint[])', [
                  queue,
                  found.map(({ msg_id: id }) => id),
                ]);
            }
            return batch;
          };
          return { live, close: () => void end(client) };
        }),
      );
    },
    async stop() {
      await Promise.all([...open].map(end));
      await setUp.end();
    },
  };
}
