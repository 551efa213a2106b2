// What waiting costs: 10,000 long polls that are parked on one pod and do not end, and a pod that has nothing to do at all. Processor time of pod and
// database, memory of the pod, transactions of the database, statements of the idle pod. Then what it costs that each of them ends after 30 seconds and is sent again.
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { API, startPodProcess } from '../pod-process.mjs';
import { openRawClient } from '../raw-client.mjs';
import { serverProcessorMs } from '../processor-time.mjs';
import { countStatements } from './statements.mjs';
import { withServer } from './server.mjs';

const QUEUES = 100;
/** A long poll lasts 30 seconds at most: all must be parked by then, and measured. */
const POLL_SECONDS = 30;
const OPENING_MS = 10_000;
/** The last ones are parked so long after they were sent. */
const ARRIVING_MS = 8000;
/** After its start a pod has something to do for a while, and autovacuum with what the migrations have left. */
const SETTLING_MS = 45_000;
const QUICK_SETTLING_MS = 10_000;

export const parked = {
  name: 'parked',
  title: 'Long polls that wait, and a pod that has nothing to do',
  run: (options) => withServer((server) => measure(server, options)),
};

async function measure(server, { quick, polls = quick ? 2000 : 10_000, progress }) {
  const environment = { TOWPATH_MAX_CONNECTIONS: String(polls + 100) };
  const pod = await server.open(startPodProcess({ ...server, environment }));
  const sql = new pg.Client({ connectionString: server.databaseUrl });
  await sql.connect();
  await server.open({ stop: () => sql.end() });
  const taken = async () => ({
    pod: pod.cpuMs(),
    database: serverProcessorMs(server.processId),
    transactions: Number(
      (
        await sql.query(
          'select xact_commit + xact_rollback as n from pg_stat_database where datname = current_database()',
        )
      ).rows[0].n,
    ),
  });
  const during = async (ms) => {
    const before = await taken();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const after = await taken();
    return {
      percentOfCore: ((after.pod - before.pod + after.database - before.database) / ms) * 100,
      transactionsPerSecond: ((after.transactions - before.transactions) / ms) * 1000,
    };
  };
  progress('parked: a pod with nothing to do');
  await new Promise((resolve) => setTimeout(resolve, quick ? QUICK_SETTLING_MS : SETTLING_MS));
  const idleMs = quick ? 10_000 : 30_000;
  const idle = await during(idleMs);
  progress('parked: what a pod with nothing to do asks the database');
  const idleStatements = await countStatements(
    server.superuserUrl,
    () => new Promise((end) => setTimeout(end, idleMs)),
  );
  const statementsPerSecond = (idleStatements / idleMs) * 1000;

  const { apiKey, compartmentId } = pod.credentials;
  const open = () => openRawClient(pod.endpoint.port, { authorization: `Bearer ${apiKey}` });
  const main = open();
  const queues = [];
  for (let n = 0; n < QUEUES; n += 1) {
    await main('POST', `${API}/queues`, JSON.stringify({ displayName: `parked-${n}`, compartmentId }));
    const { items } = await main('GET', `${API}/queues?compartmentId=${compartmentId}&displayName=parked-${n}`);
    queues.push(items[0].id);
  }
  const before = residentBytes(pod.processId);
  progress(`parked: opening ${polls} long polls`);
  const clients = [];
  const began = performance.now();
  let ended = 0;
  const firstEnd = Promise.withResolvers();
  const countEnd = () => {
    ended += 1;
    firstEnd.resolve();
  };
  for (let n = 0; n < polls; n += 1) {
    const client = open();
    clients.push(client);
    const target = `${API}/queues/${queues[n % QUEUES]}/messages?timeoutInSeconds=${POLL_SECONDS}`;
    void pollUntilClosed(client, target, countEnd);
    if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve, OPENING_MS / 2 / (polls / 100)));
  }
  const openedMs = performance.now() - began;
  await new Promise((resolve) => setTimeout(resolve, quick ? ARRIVING_MS / 2 : ARRIVING_MS));
  progress(`parked: ${polls} long polls`);
  const waiting = await during(quick ? 5000 : 12_000);
  const bytes = (residentBytes(pod.processId) - before) / polls;
  if (ended > 0)
    throw new Error(`${ended} long polls ended before they were measured (opened in ${openedMs.toFixed(0)} ms)`);
  const rows = [
    [
      `nothing to do: ${statementsPerSecond.toFixed(2)} statements of the pod per second`,
      idle.percentOfCore.toFixed(1),
      idle.transactionsPerSecond.toFixed(2),
      '',
    ],
    [
      `${polls} parked long polls`,
      waiting.percentOfCore.toFixed(1),
      waiting.transactionsPerSecond.toFixed(1),
      (bytes / 1000).toFixed(1),
    ],
  ];
  // A quick run has no time to see them end.
  if (!quick) {
    progress(`parked: ${polls} long polls that end and are sent again`);
    await firstEnd.promise;
    ended = 0;
    const turnover = await during(POLL_SECONDS * 1000);
    rows.push([
      `the same, when they end: ${(ended / POLL_SECONDS).toFixed(0)} ended and came again per second`,
      turnover.percentOfCore.toFixed(1),
      turnover.transactionsPerSecond.toFixed(1),
      '',
    ]);
  }
  for (const client of clients) client.close();
  main.close();
  return {
    tables: [
      {
        title: `one pod, ${QUEUES} queues; polls were opened in ${(openedMs / 1000).toFixed(1)} s`,
        columns: ['', '% of a core, pod and database', 'transactions/s, autovacuum included', 'kB of the pod for each'],
        rows,
      },
    ],
    ratios: [
      { what: 'an idle pod: statements per second', ratio: statementsPerSecond, most: 1 },
      { what: `${polls} parked long polls: % of a core`, ratio: waiting.percentOfCore, most: 5 },
      { what: `${polls} parked long polls: kB for each`, ratio: bytes / 1000, most: 40 },
    ],
    plots: [],
  };
}

/** One that is cut off at the end of the run is none. */
async function pollUntilClosed(client, target, onEnd) {
  try {
    for (;;) {
      await client('GET', target);
      onEnd();
    }
  } catch {
    // Closed.
  }
}

function residentBytes(processId) {
  const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${processId}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}
