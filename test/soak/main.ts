import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Operation } from '../history/history.js';
import { HELP, listed, readOptions, UsageError, type SoakOptions } from './options.js';
import { PLANTS, type SoakPlant } from './plants.js';
import { markdownOf, reportOf, type Report } from './report.js';
import { runSoak, type Progress, type SoakResult } from './soak.js';

const [GREEN, RED, COULD_NOT_RUN] = [0, 1, 2];
/** Where nobody watches, a line is written so often. */
const TELL_EVERY_SECONDS = 15;

async function main(): Promise<number> {
  const command = readOptions(process.argv.slice(2));
  if (command === 'help' || command === 'list') {
    process.stdout.write(command === 'help' ? HELP : listed());
    return GREEN;
  }
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!ending.signal.aborted)
        process.stdout.write(`\n${signal}: the load ends; what is there is drained and checked\n`);
      ending.abort();
    });
  }
  if (command.plant === 'all') return soakEach(command, ending.signal);
  const plant = PLANTS.find(({ name }) => name === command.plant) ?? null;
  const report = await soak(command, plant, ending.signal);
  return report.isGreen ? GREEN : RED;
}

async function soak(options: SoakOptions, plant: SoakPlant | null, signal: AbortSignal): Promise<Report> {
  const { seed, minutes, rate, out } = options;
  process.stdout.write(`a soak of ${minutes} minutes at ${rate} messages per second, seed ${seed}\n`);
  const result = await runSoak(options, plant, progressTold(), signal);
  const report = reportOf(result, options, plant);
  await mkdir(out, { recursive: true });
  await writeFile(path.join(out, 'report.md'), markdownOf(report));
  await writeFile(path.join(out, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(path.join(out, 'pods.log'), result.podLogs.join('\n'));
  // What broke a promise does not come again.
  if (plant === null && result.violations.length > 0) await keepHistories(result, out);
  const broken = [...new Set(result.violations.map(({ property }) => property))];
  process.stdout.write(
    `\n${report.isGreen ? 'green' : 'RED'}: ${result.violations.length} violations${broken.map((property) => `\n  ${property}`).join('')}\n` +
      result.complaints.map((complaint) => `  ${complaint}\n`).join('') +
      `the report is in ${path.join(out, 'report.md')}\n`,
  );
  return report;
}

/** One bug after another, each in a soak of its own. */
async function soakEach(options: SoakOptions, signal: AbortSignal): Promise<number> {
  const missed: string[] = [];
  let tried = 0;
  for (const plant of PLANTS) {
    if (signal.aborted) break;
    tried += 1;
    const report = await soak({ ...options, out: path.join(options.out, plant.name) }, plant, signal);
    const found = plant.breaks.find((property) => report.violations.some((each) => each.property === property));
    process.stdout.write(
      found === undefined
        ? `${plant.name}: NOT FOUND\n`
        : `${plant.name}: red by “${found}” after ${Math.round(report.loadSeconds)} s\n`,
    );
    if (found === undefined) missed.push(plant.name);
  }
  if (tried < PLANTS.length) process.stdout.write(`ended early: ${tried} of ${PLANTS.length} bugs were planted\n`);
  else if (missed.length === 0) process.stdout.write('every bug was found\n');
  if (missed.length > 0) process.stdout.write(`not found: ${missed.join(', ')}\n`);
  return missed.length === 0 && !signal.aborted ? GREEN : RED;
}

/** One operation per line. */
async function keepHistories({ stage }: SoakResult, out: string): Promise<void> {
  for (const [name, { operations }] of stage.target.queues) {
    await pipeline(Readable.from(lines(operations)), createWriteStream(path.join(out, `history-${name}.ndjson`)));
  }
  await pipeline(Readable.from(lines(stage.target.commits)), createWriteStream(path.join(out, 'transactions.ndjson')));
}

function* lines(operations: Iterable<Operation | object>): Generator<string> {
  for (const operation of operations) yield `${JSON.stringify(operation)}\n`;
}

/** On a terminal one line that changes; elsewhere a line now and then. */
function progressTold(): (progress: Progress) => void {
  let toldAt = -Infinity;
  return ({ elapsedSeconds, remainingSeconds, operations, messages, fault }) => {
    const line = `${Math.round(elapsedSeconds)} s, ${Math.round(remainingSeconds)} s to go, ${operations} operations, ${messages ?? '?'} messages, fault: ${fault}`;
    if (process.stdout.isTTY) process.stdout.write(`\r\u001b[K${line}`);
    else if (elapsedSeconds - toldAt >= TELL_EVERY_SECONDS) {
      toldAt = elapsedSeconds;
      process.stdout.write(`${line}\n`);
    }
  };
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const text =
      error instanceof UsageError
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
    process.stderr.write(`${text}\n`);
    process.exit(COULD_NOT_RUN);
  },
);
