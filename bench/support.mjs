// What the benchmarks share: a database of their own, figures, and the line that says under which conditions they were taken.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import 'reflect-metadata';
import { Database } from '../dist/database/database.js';
import { migrate } from '../dist/database/migrator.js';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';

export const say = (line) => process.stdout.write(`${line}\n`);

export const percentile = (numbers, share) =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? NaN;
export const median = (numbers) => percentile(numbers, 0.5);

/** Of durations in milliseconds. */
export const figures = (numbers) =>
  `median ${median(numbers).toFixed(3)} ms, p99 ${percentile(numbers, 0.99).toFixed(3)} ms`;

/** Node, processors and load, as every benchmark prints them; and what the host of a virtual machine gave to others since this was last asked. */
export function machine() {
  const load = loadavg().map((figure) => figure.toFixed(1));
  return `Node ${process.version}, ${availableParallelism()} x ${cpus()[0]?.model ?? 'unknown'}, load ${load.join(' ')}${stolen()}`;
}

let ticksBefore = processorTicks();

/** The share of the processors' time that the host gave to others, where the kernel tells it (Linux). */
function stolen() {
  const ticks = processorTicks();
  const all = ticks.all - ticksBefore.all;
  const share = (100 * (ticks.stolen - ticksBefore.stolen)) / all;
  ticksBefore = ticks;
  return all > 0 ? `, ${share.toFixed(0)} % of their time taken by other machines` : '';
}

function processorTicks() {
  if (process.platform !== 'linux') return { all: 0, stolen: 0 };
  // cpu  user nice system idle iowait irq softirq steal …
  const ticks = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].split(/ +/).slice(1, 9).map(Number);
  return { all: ticks.reduce((sum, each) => sum + each, 0), stolen: ticks[7] };
}

/**
 * A folder for this run only, which the caller removes. Everybody may walk through it: for root, whose server runs as somebody else, that server would
 * live elsewhere otherwise, and stay there.
 */
export async function makeFolder() {
  const folder = await mkdtemp(path.join(tmpdir(), 'towpath-bench-'));
  await chmod(folder, 0o711);
  return folder;
}

/**
 * An embedded server with the schema, for this run only. `value` runs a statement and returns the column `value` of its
 * first row; `processId` is the postmaster's; `makeQueue` returns the number of a new queue in a tenancy of its own; `close` leaves nothing behind.
 */
export async function openBench({ connections = 4, settings = {} } = {}) {
  const dataDirectory = await makeFolder();
  const server = await startEmbeddedPostgres({ dataDirectory, settings: { max_wal_size: '8GB', ...settings } });
  const database = new Database(server.url, connections, 3000, () => undefined);
  await migrate(server.url, path.resolve(import.meta.dirname, '../migrations'), () => undefined);
  const value = async (text, values = []) => {
    const [row] = await database.run({ name: text.slice(0, 60), text }, values);
    return row?.value;
  };
  say(`PostgreSQL ${await value(`select current_setting('server_version') as value`)} embedded, ${machine()}`);
  return {
    database,
    processId: server.processId,
    value,
    makeQueue: (name, details = {}) =>
      value(
        `select (towpath.create_queue(t.id, jsonb_build_object('displayName', $1::text, 'compartmentId', t.id) || $2)).queue_id as value
         from towpath.create_tenancy($1) t`,
        [name, JSON.stringify(details)],
      ),
    close: async () => {
      await database.close();
      await server.stop();
      await rm(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
