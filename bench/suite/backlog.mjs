// What a backlog costs: whole lives of messages on a queue in which millions wait, and on one that is empty, in slices in turn. Who gets a
// message is given the oldest of the backlog, so that it stays as long as it is.
import pg from 'pg';
import { openTowpath } from '../peers/http.mjs';
import { runSlice } from '../peers/slice.mjs';
import { median } from '../support.mjs';
import { withServer } from './server.mjs';

const CLIENTS = 64;
const BATCH = 20;
const BYTES = 200;
const PER_STATEMENT = 5000;
const AIM = 0.9;

export const backlog = {
  name: 'backlog',
  title: `Lives of messages on a queue with a backlog beside an empty one, batches of ${BATCH}, ${CLIENTS} clients`,
  run: (options) => withServer((server) => measure(server, options)),
};

async function measure(server, { quick, rounds = quick ? 3 : 7, progress }) {
  const towpath = await server.open(openTowpath(server));
  const sql = new pg.Client({ connectionString: server.databaseUrl });
  await sql.connect();
  await server.open({ stop: () => sql.end() });
  const empty = await towpath.clients(CLIENTS, 'empty', BYTES);
  const rows = [];
  const ratios = [];
  for (const size of quick ? [200_000] : [1_000_000, 10_000_000]) {
    const name = `with-${size}`;
    const full = await towpath.clients(CLIENTS, name, BYTES);
    await fill(sql, name, size, (done) => progress(`backlog: ${done} of ${size} messages`));
    for (const clients of [empty, full]) await runSlice(clients, BATCH, quick ? 1500 : 5000);
    const rates = { empty: [], full: [] };
    for (let round = 0; round < rounds; round += 1) {
      progress(`backlog: ${size} messages, round ${round + 1} of ${rounds}`);
      rates.empty.push((await runSlice(empty, BATCH, 1000)).perSecond);
      rates.full.push((await runSlice(full, BATCH, 1000)).perSecond);
    }
    const ratio = median(rates.full.map((rate, index) => rate / rates.empty[index]));
    rows.push([`${size}`, median(rates.full).toFixed(0), median(rates.empty).toFixed(0), ratio.toFixed(2)]);
    ratios.push({ what: `a backlog of ${size} against an empty queue`, ratio, aim: AIM });
    for (const client of full) client.close();
  }
  for (const client of empty) client.close();
  return {
    tables: [{ title: 'lives per second', columns: ['messages waiting', 'with them', 'empty queue', 'ratio'], rows }],
    ratios,
    plots: [],
  };
}

/** Puts by our SQL function, unsealed: it is about how many there are. */
async function fill(sql, name, size, told) {
  const { rows } = await sql.query(
    'update towpath.queue set accept_unsealed = true where display_name = $1 returning id',
    [name],
  );
  const all = (value) => Array.from({ length: PER_STATEMENT }, () => value);
  const body = Buffer.alloc(PER_STATEMENT * BYTES, 'x');
  for (let done = 0; done < size; done += PER_STATEMENT) {
    await sql.query({
      name: 'fill',
      text: 'select from towpath.put_packed_messages($1, $2, $3, $4, $5, $6, $7)',
      values: [rows[0].id, body, all(BYTES), all(''), all(null), all(0), all(BYTES)],
    });
    if (done % 100_000 === 0) told(done);
  }
}
