// All benchmarks that compare Towpath with its peers, in one command: a progress line, tables, ratios with their aims, a JSON file and a page
// with plots. Everything durable, on this machine, on servers of its own; ends by itself, and leaves nothing but the results.
//
//   npm run bench                      everything; about an hour and a half
//   npm run bench -- --quick           everything, small; three minutes, to see that it works and where the figures lie
//   npm run bench -- --only lives,delivery     some: lives, delivery, backlog, snapshot, parked, pods, stomp
//   … --pgmq pgmq.sql                  with pgmq, from its SQL file (pgmq-extension/sql/pgmq.sql of its repository)
//   … --clients 64 --batches 1         of lives: only these; with BENCH_NODE_OPTIONS='--cpu-prof --cpu-prof-dir=/tmp/profiles' and --alone for a profile
//   … --rounds 9 --minutes 10 --polls 10000 --rate 200 --alone --out folder      (bench/results)
//
// pg-boss and graphile-worker come from npm; RabbitMQ (stomp) is asked where it runs, as bench/stomp.mjs says.
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { readOptions } from './options.mjs';
import { backlog } from './suite/backlog.mjs';
import { delivery } from './suite/delivery.mjs';
import { lives } from './suite/lives.mjs';
import { pageOf } from './suite/page.mjs';
import { parked } from './suite/parked.mjs';
import { pods } from './suite/pods.mjs';
import { withServer } from './suite/server.mjs';
import { snapshot } from './suite/snapshot.mjs';
import { stomp } from './suite/stomp.mjs';
import { isReached, textOf } from './suite/text.mjs';
import { machine, say } from './support.mjs';

const SCENARIOS = [lives, delivery, parked, pods, stomp, backlog, snapshot];

const options = readOptions(import.meta.filename, {
  quick: 'flag',
  alone: 'flag',
  only: SCENARIOS.map(({ name }) => name),
  pgmq: 'file',
  rounds: 'number',
  minutes: 'number',
  polls: 'number',
  rate: 'number',
  clients: 'numbers',
  batches: 'numbers',
  out: 'text',
});
const folder = options.out ?? path.join(import.meta.dirname, 'results');

const version = await withServer(async ({ databaseUrl }) => {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const { rows } = await client.query(`select current_setting('server_version') as version`);
  await client.end();
  return rows[0].version;
});
const report = {
  startedAt: new Date().toISOString(),
  conditions: [
    `PostgreSQL ${version} embedded, durable commits; clients, peers and database share the machine`,
    `${machine()}, ${Math.round(totalmem() / 2 ** 30)} GiB; ${cpus().length} processors`,
    options.quick ? 'a quick run: few and short slices, so its figures are rough' : 'medians of the rounds',
  ],
  scenarios: [],
};
const file = path.join(folder, report.startedAt.slice(0, 19).replaceAll(':', '-'));
await mkdir(folder, { recursive: true });
say(report.conditions.join('\n'));
for (const { name, title, run } of SCENARIOS.filter((scenario) => options.only.includes(scenario.name))) {
  const result = await run({
    ...options,
    pgmqSql: options.pgmq,
    progress,
  });
  progress('');
  const scenario = { name, title, machine: machine(), ...result };
  report.scenarios.push(scenario);
  say(textOf(scenario));
  report.endedAt = new Date().toISOString();
  // After each, so that what was measured is there whatever becomes of the rest.
  await writeFile(`${file}.json`, `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(`${file}.html`, pageOf(report));
}
say(`${file}.json and .html`);
const missed = report.scenarios.flatMap(({ ratios }) => ratios.filter((each) => !isReached(each)));
if (missed.length > 0) say(`${missed.length} aims are not reached: ${missed.map(({ what }) => what).join('; ')}`);

/** One line, written over on a terminal. */
function progress(line) {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${line}`);
  else if (line !== '') process.stderr.write(`${line}\n`);
}
