import { execFileSync } from 'node:child_process';
import { cpus, totalmem, type } from 'node:os';
import type { Violation } from '../history/check/properties.js';
import { FAULTS } from './faults/all.js';
import { countKinds, countProperties, latencies, type Counted, type KindCounts, type Latency } from './figures.js';
import type { SoakOptions } from './options.js';
import type { SoakPlant } from './plants.js';
import { isGreen, type SoakResult } from './soak.js';

/** All that a soak came to, in figures. Times of faults are seconds since its begin. */
export interface Report extends Omit<SoakResult, 'stage' | 'startedAt' | 'inflicted' | 'podLogs'> {
  readonly isGreen: boolean;
  readonly startedAt: string;
  readonly options: Omit<SoakOptions, 'out'>;
  readonly plant: string | null;
  readonly machine: string;
  readonly versions: string;
  readonly faults: readonly FaultRow[];
  readonly kinds: readonly KindCounts[];
  readonly stomp: Readonly<Record<string, number>>;
  readonly properties: readonly Counted[];
  readonly latencies: readonly Latency[];
}

export interface FaultRow {
  readonly name: string;
  readonly hit: string;
  readonly beganAfter: number;
  readonly healedAfter: number;
  readonly recoverySeconds: number;
  readonly silentSeconds: number;
  readonly answered: number;
  readonly unanswered: number;
  readonly note: string | null;
}

/** Asked at the begin: somebody may commit while it runs. */
const COMMIT = commit();
/** So many of one property are told in words. */
const TOLD = 5;

export function reportOf(result: SoakResult, options: SoakOptions, plant: SoakPlant | null): Report {
  const { stage, startedAt, inflicted, podLogs: _logs, ...rest } = result;
  const histories = stage.queues.map(({ history }) => history);
  const operations = histories.flatMap((history) => [...history.operations]);
  const after = (at: number): number => (at - startedAt) / 1000;
  const { out: _out, ...asked } = options;
  return {
    ...rest,
    isGreen: isGreen(result),
    startedAt: new Date(startedAt).toISOString(),
    options: asked,
    plant: plant === null ? null : `${plant.name}: ${plant.what}`,
    machine: `${type()} ${process.arch}, ${cpus().length} processors, ${Math.round(totalmem() / 2 ** 30)} GiB of memory`,
    versions: `Towpath ${COMMIT}, Node ${process.versions.node}, PostgreSQL ${result.serverVersion}`,
    faults: inflicted.map(({ beganAt, healedAt, recoveredAt, silentMs, ...each }) => ({
      ...each,
      beganAfter: after(beganAt),
      healedAfter: after(healedAt),
      recoverySeconds: (recoveredAt - healedAt) / 1000,
      silentSeconds: silentMs / 1000,
    })),
    kinds: countKinds(operations, stage.target.commits),
    stomp: { ...stage.target.counts },
    properties: countProperties(histories, stage.target.commits, result.violations),
    latencies: latencies(operations, inflicted),
  };
}

export function markdownOf(report: Report): string {
  const { options, faults, memory } = report;
  const came = Map.groupBy(faults, ({ name }) => name);
  const sections = [
    `# A soak of Towpath: ${report.isGreen ? 'green' : 'RED'}`,
    report.plant === null ? '' : `A bug was planted: ${report.plant}.`,
    '## Conditions',
    list([
      `${report.versions}; ${report.machine}, which others may have used too (load average ${report.loadAverage.map((load) => load.toFixed(1)).join(' at the begin and ')} at the end)`,
      `begun ${report.startedAt}, ${minutes(report.loadSeconds)} of load of ${options.minutes} minutes asked for${report.wasEndedEarly ? ', ended early' : ''}`,
      `seed ${options.seed}, ${options.rate} messages put per second at most, ${options.pods} pods, drained and checked ${report.legs} times`,
      `PostgreSQL's data on ${report.disk}; fsync and synchronous_commit on`,
      `the history: ${total(report.kinds)} operations, checked in ${report.checkSeconds.toFixed(1)} s; the process that keeps it had ${report.soakMib.join(' and then ')} MiB in memory`,
    ]),
    '## Faults',
    table(
      ['fault', 'what it does', 'heals by', 'times', 'longest silence of a pod', 'recovery, median', 'and longest'],
      FAULTS.filter(({ name }) => came.has(name)).map(({ name, does, heals }) => {
        const some = came.get(name) ?? [];
        const recoveries = some.map(({ recoverySeconds }) => recoverySeconds).toSorted((a, b) => a - b);
        const median = recoveries[Math.floor(recoveries.length / 2)] ?? NaN;
        const silent = Math.max(...some.map(({ silentSeconds }) => silentSeconds));
        return [name, does, heals, some.length, seconds(silent), seconds(median), seconds(recoveries.at(-1) ?? NaN)];
      }),
    ),
    report.notRun.length === 0 ? '' : list(report.notRun.map(({ name, why }) => `not run: ${name}: ${why}`)),
    'Recovery is the time from the end of a fault until every pod had answered a request that needs its database. A pod is silent from one such answer to the next.',
    '### One by one',
    table(
      ['began', 'fault', 'hit', 'lasted', 'recovery', 'longest silence', 'answered', 'unanswered', 'observed'],
      faults.map((each) => [
        minutes(each.beganAfter),
        each.name,
        each.hit,
        seconds(each.healedAfter - each.beganAfter),
        seconds(each.recoverySeconds),
        seconds(each.silentSeconds),
        each.answered,
        each.unanswered,
        each.note ?? '',
      ]),
    ),
    'Answered and unanswered are puts, updates and deletions over REST from the begin until the recovery; unanswered is 503, or a lost connection.',
    '## Operations',
    table(
      ['operation', 'done', 'refused', 'of unknown outcome'],
      report.kinds.map(({ kind, done, refused, unknown }) => [kind, done, refused, unknown]),
    ),
    `STOMP: ${Object.entries(report.stomp)
      .map(([name, count]) => `${count} ${name}`)
      .join(
        ', ',
      )}. Refused and unknown ones are wanted: clients show dead receipts, go away and cut themselves off at random.`,
    '## Latency over REST',
    table(
      ['operation', 'count', 'p50', 'p99', 'max'],
      report.latencies.map(({ what, count, p50, p99, max }) => [what, count, ms(p50), ms(p99), ms(max)]),
    ),
    '## What was checked',
    table(
      ['property', 'checked', 'violations'],
      report.properties.map(({ property, checked, violations }) => [property, checked, violations]),
    ),
    ...told(report.violations),
    '## What was left',
    table(
      ['what', 'found', ''],
      report.aftermath.map(({ what, found, isGood }) => [what, found, isGood ? 'good' : 'BAD']),
    ),
    table(
      ['pod', 'memory', 'from', 'to'],
      memory.map((pod) => [
        pod.slot,
        `${pod.firstMib} MiB, then ${pod.lastMib} MiB`,
        minutes(pod.firstSeconds),
        minutes(pod.lastSeconds),
      ]),
    ),
    '## What the pods logged',
    report.log.length === 0
      ? 'Nothing.'
      : table(
          ['times', 'level', 'message', ''],
          report.log.map(({ count, level, text, isExpected }) => [count, level, text, isExpected ? '' : 'BAD']),
        ),
    ...(report.complaints.length === 0 ? [] : ['## Complaints', list(distinct(report.complaints))]),
    '## Verdict',
    verdict(report),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

function verdict({ isGreen: green, violations, complaints, aftermath, log }: Report): string {
  if (green) return 'Green: no promise was broken, nothing was left, and everything came back by itself.';
  const bad = aftermath.filter(({ isGood }) => !isGood).length;
  const unexpected = log.filter(({ isExpected }) => !isExpected).length;
  const broken = [...new Set(violations.map(({ property }) => property))].map((property) => `“${property}”`);
  return `RED: ${violations.length} violations${broken.length === 0 ? '' : ` of ${broken.join(', ')}`}, ${complaints.length} complaints, ${bad} things left, ${unexpected} unexpected messages in the log.`;
}

function told(violations: readonly Violation[]): string[] {
  return [...Map.groupBy(violations, ({ property }) => property)].map(([property, some]) => {
    const first = some
      .slice(0, TOLD)
      .map(({ group, key, what }) => `${group === '' ? '' : `${group}: `}${key}: ${what}`);
    const left = some.length - first.length;
    return `### Broken: ${property}\n\n${list([...first, ...(left > 0 ? [`and ${left} more`] : [])])}`;
  });
}

function distinct(texts: readonly string[]): string[] {
  return [...Map.groupBy(texts, (text) => text)].map(([text, some]) =>
    some.length === 1 ? text : `${text} (${some.length} times)`,
  );
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [tableLine(head), tableLine(head.map(() => '---')), ...rows.map(tableLine)].join('\n');
}

function tableLine(cells: readonly (string | number)[]): string {
  return `| ${cells.map((cell) => escape(`${cell}`)).join(' | ')} |`;
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}

function list(items: readonly string[]): string {
  return items.map((item) => `- ${item.replaceAll('\n', ' ')}`).join('\n');
}

function total(kinds: readonly KindCounts[]): number {
  return kinds.reduce((sum, { done, refused, unknown }) => sum + done + refused + unknown, 0);
}

function seconds(value: number): string {
  return `${value.toFixed(1)} s`;
}

function minutes(value: number): string {
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

function ms(value: number): string {
  return Number.isNaN(value) ? '' : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** Which version this is; a copy without its history does not know. */
function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: import.meta.dirname, stdio: 'pipe' })
      .toString()
      .trim();
  } catch {
    return 'of unknown version';
  }
}
