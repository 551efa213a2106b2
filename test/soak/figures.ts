import { PROPERTIES, type Property, type Violation } from '../history/check/properties.js';
import type { CommitCall, History, Operation, Outcome } from '../history/history.js';
import type { Inflicted } from './inflicting.js';

/** How many operations of a kind there were, by their outcome. */
export interface KindCounts {
  readonly kind: string;
  readonly done: number;
  readonly refused: number;
  readonly unknown: number;
}

export interface Counted {
  readonly property: Property;
  /** What was looked at to check it. */
  readonly checked: string;
  readonly violations: number;
}

/** In milliseconds. */
export interface Latency {
  readonly what: string;
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export function countKinds(operations: readonly Operation[], commits: readonly CommitCall[]): KindCounts[] {
  const byKind = Map.groupBy(operations, ({ kind }) => kind);
  return [...[...byKind].map(([kind, calls]) => countOutcomes(kind, calls)), countOutcomes('transaction', commits)];
}

function countOutcomes(kind: string, calls: readonly { readonly outcome: Outcome }[]): KindCounts {
  const [done, refused, unknown] = (['done', 'refused', 'unknown'] as const).map((outcome) => countOf(calls, outcome));
  return { kind, done: done ?? 0, refused: refused ?? 0, unknown: unknown ?? 0 };
}

function countOf(calls: readonly { readonly outcome: Outcome }[], outcome: Outcome): number {
  return calls.filter((call) => call.outcome === outcome).length;
}

/** Each property with what the histories have to check it. */
export function countProperties(
  histories: readonly History[],
  commits: readonly CommitCall[],
  violations: readonly Violation[],
): Counted[] {
  const operations = histories.flatMap((history) => [...history.operations]);
  const all = <Kind extends Operation['kind']>(kind: Kind): Extract<Operation, { kind: Kind }>[] =>
    operations.filter((each): each is Extract<Operation, { kind: Kind }> => each.kind === kind);
  const [puts, gets, updates, deletes] = [all('put'), all('get'), all('update'), all('delete')];
  const sent = puts.reduce((sum, { messages }) => sum + messages.length, 0);
  // A message is another one in each group that takes it.
  const fates = histories.reduce((sum, { rules, operations: some }) => {
    const messages = some.flatMap((each) => (each.kind === 'put' ? [...each.messages] : []));
    return (
      sum +
      messages.reduce(
        (taken, { properties }) => taken + rules.groups.filter(({ takes }) => takes(properties)).length,
        0,
      )
    );
  }, 0);
  const delivered = gets.flatMap(({ messages, deadLetter }) =>
    messages.map(({ key, deliveryCount }) => ({ key, deliveryCount, deadLetter })),
  );
  const repeated = delivered.filter(({ deliveryCount }) => deliveryCount > 1).length;
  const unknownPuts = puts.filter(({ outcome }) => outcome === 'unknown').length;
  const delayed = puts.reduce(
    (sum, { messages }) => sum + messages.filter(({ delayInSeconds }) => delayInSeconds > 0).length,
    0,
  );
  const settled = [...updates, ...deletes];
  const dead = delivered.filter(({ deadLetter }) => deadLetter).length;
  const checked: Record<keyof typeof PROPERTIES, string> = {
    lost: `${fates} messages, counted in each group that takes one`,
    nowhere: `${delivered.length} deliveries`,
    filter: `${delivered.length} deliveries`,
    transaction: `${commits.length} transactions, ${countOf(commits, 'unknown')} of unknown outcome`,
    atomic: `${unknownPuts} puts of unknown outcome`,
    kept: `${delivered.length} deliveries`,
    once: `${fates} messages, counted in each group that takes one`,
    early: `${delayed} messages with a delay`,
    holder: `${repeated} repeated deliveries`,
    afterDelete: `${countOf(deletes, 'done')} confirmed deletions`,
    stale: `${countOf(settled, 'done')} receipts that were taken`,
    live: `${countOf(settled, 'refused')} receipts that were refused`,
    count: `${delivered.length} deliveries`,
    deadLetter: `${dead} deliveries of dead letters, ${delivered.length - dead} others`,
    redriven: `${all('redrive').length} redrives`,
    times: `${delivered.length} deliveries, ${countOf(updates, 'done')} updates`,
    stats: `${all('stats').length} statistics`,
  };
  return Object.entries(PROPERTIES).map(([name, property]) => ({
    property,
    checked: `${checked[name as keyof typeof PROPERTIES]}${name === 'lost' ? `; ${sent} were put` : ''}`,
    violations: violations.filter((each) => each.property === property).length,
  }));
}

/** Of puts and deletions over REST that were done, in quiet times and while a fault went on until all pods had answered again. */
export function latencies(operations: readonly Operation[], inflicted: readonly Inflicted[]): Latency[] {
  const isQuiet = (at: number): boolean =>
    !inflicted.some(({ beganAt, recoveredAt }) => at >= beganAt && at <= recoveredAt);
  const kinds = ['put', 'delete'] as const;
  return kinds.flatMap((kind) => {
    const done = operations.filter((each) => each.kind === kind && each.outcome === 'done' && isOfRest(each));
    const [quiet, faulty] = [true, false].map((wanted) =>
      done.filter(({ answeredAt }) => isQuiet(answeredAt) === wanted),
    );
    return [latency(`${kind}, quiet`, quiet ?? []), latency(`${kind}, in faults`, faulty ?? [])];
  });
}

function latency(what: string, calls: readonly Operation[]): Latency {
  const sorted = calls.map(({ calledAt, answeredAt }) => answeredAt - calledAt).toSorted((a, b) => a - b);
  const quantile = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return { what, count: sorted.length, p50: quantile(0.5), p99: quantile(0.99), max: quantile(1) };
}

/**
 * Whether a put, an update or a deletion was called over REST. Polls end without an answer whenever their clients like, and clients
 * of STOMP cut themselves off.
 */
export function isOfRest(operation: Operation): boolean {
  if (operation.kind === 'put') return !operation.messages.some(({ key }) => /^(?:message|poison) [a-z]/.test(key));
  return (operation.kind === 'update' || operation.kind === 'delete') && !operation.receipt.includes('/');
}
