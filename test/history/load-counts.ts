import type { Operation } from './history.js';

/** What a run exercised. */
export interface LoadCounts {
  readonly messages: number;
  readonly deliveries: number;
  readonly redeliveries: number;
  readonly deadLetters: number;
  /** Messages that were delivered for the first time once more. */
  readonly redriven: number;
  readonly redrives: number;
  readonly cutShort: number;
  readonly abortedPolls: number;
  readonly extended: number;
  readonly refused: number;
  readonly unknown: number;
  readonly lifecyclesPerSecond: number;
}

/** What a run did no more of than `least` says, so that it cannot have exercised it enough. */
export function lacking(counts: LoadCounts, least: Partial<LoadCounts>): string[] {
  return Object.entries(least)
    .filter(([name, count]) => counts[name as keyof LoadCounts] <= count)
    .map(([name, count]) => `${name}: ${counts[name as keyof LoadCounts]}, not more than ${count}`);
}

export function countLoad(operations: readonly Operation[], seconds: number): LoadCounts {
  const gets = operations.filter((each) => each.kind === 'get');
  const deliveries = gets.flatMap(({ group, deadLetter, messages }) =>
    messages.map(({ key, deliveryCount }) => ({ fate: `${group}/${key}`, deadLetter, deliveryCount })),
  );
  const firsts = deliveries.filter(({ deliveryCount }) => deliveryCount === 1);
  const redrives = operations.filter((each) => each.kind === 'redrive').filter(({ outcome }) => outcome === 'done');
  const updates = operations.filter((each) => each.kind === 'update');
  const deletes = operations.filter((each) => each.kind === 'delete');
  const receipts = [...updates, ...deletes];
  return {
    messages: operations.reduce((sum, each) => sum + (each.kind === 'put' ? each.messages.length : 0), 0),
    deliveries: deliveries.length,
    redeliveries: deliveries.filter(({ deadLetter, deliveryCount }) => !deadLetter && deliveryCount > 1).length,
    deadLetters: new Set(deliveries.filter(({ deadLetter }) => deadLetter).map(({ fate }) => fate)).size,
    redriven: firsts.length - new Set(firsts.map(({ fate }) => fate)).size,
    redrives: redrives.length,
    cutShort: redrives.filter(({ isComplete }) => !isComplete).length,
    abortedPolls: gets.filter(({ outcome }) => outcome === 'unknown').length,
    extended: updates.filter(({ outcome, visibilityInSeconds }) => outcome === 'done' && visibilityInSeconds > 0)
      .length,
    refused: receipts.filter(({ outcome }) => outcome === 'refused').length,
    unknown: operations.filter(({ outcome }) => outcome === 'unknown').length,
    lifecyclesPerSecond: Math.round(deletes.filter(({ outcome }) => outcome === 'done').length / seconds),
  };
}
