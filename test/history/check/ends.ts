import type { PutCall, StatsCall } from '../history.js';
import { interval, nameOf, nameOfSide, type Evidence, type Fate } from './evidence.js';

/** What exists must have been deleted or must be there in the end, in each group that takes it. */
export function checkEnd(evidence: Evidence, fate: Fate): void {
  const { key, group, put, isTaken, deliveries, deletes } = fate;
  const exists = isTaken && (put.outcome === 'done' || deliveries.length > 0);
  const isGone = deletes.some(({ outcome }) => outcome !== 'refused');
  if (!exists || isGone || deliveries.some(({ get }) => get.isFinal)) return;
  const last = deliveries.at(-1);
  if (mayBeDeletedUnseen(evidence, fate, last?.claimedAt ?? put.calledAt)) return;
  const what = `put ${interval(put)}, ${last === undefined ? 'never delivered' : nameOf(last)}`;
  evidence.report('lost', group.name, key, what);
}

/** Where a get deletes by itself what it delivers, a client that is cut off loses what was on its way to it. */
function mayBeDeletedUnseen(evidence: Evidence, fate: Fate, since: number): boolean {
  return [false, true].some((deadLetter) =>
    evidence.blindGetsFor(fate, deadLetter, since, Infinity).some(({ deletes }) => deletes === true),
  );
}

export function checkAllOrNone(evidence: Evidence, put: PutCall): void {
  if (put.outcome !== 'unknown') return;
  const fates = put.messages.flatMap(({ key }) =>
    evidence.rules.groups.flatMap(({ name }) => evidence.fateOf(name, key) ?? []).filter(({ isTaken }) => isTaken),
  );
  const seen = fates.filter(({ deliveries }) => deliveries.length > 0);
  const [first] = seen;
  if (first === undefined || seen.length === fates.length) return;
  const what = `${seen.length} exist of the ${fates.length} that a put stores, counted in each group that takes one`;
  evidence.report('atomic', first.group.name, first.key, what);
}

/** What there was when the statistics were read is what was delivered after that, from where it was delivered. */
export function checkStats(evidence: Evidence, stats: StatsCall): void {
  const truth = { queue: { messages: 0, bytes: 0 }, dlq: { messages: 0, bytes: 0 } };
  for (const { group, deliveries, put, sent } of evidence.fates) {
    if (group.name !== stats.group || put.calledAt > stats.answeredAt) continue;
    const next = deliveries.find(({ claimedAt }) => claimedAt > stats.answeredAt);
    if (next === undefined) continue;
    const figures = next.deadLetter ? truth.dlq : truth.queue;
    figures.messages += 1;
    figures.bytes += sent.sizeInBytes;
  }
  for (const name of ['queue', 'dlq'] as const) {
    const { visibleMessages, inFlightMessages, sizeInBytes } = stats[name];
    const { messages, bytes } = truth[name];
    if (visibleMessages === messages && inFlightMessages === 0 && sizeInBytes === bytes) continue;
    const side = nameOfSide({ group: stats.group, deadLetter: name === 'dlq' });
    const told = `${visibleMessages} visible, ${inFlightMessages} in flight, ${sizeInBytes} bytes were told`;
    const real = `${messages} visible, 0 in flight, ${bytes} bytes are true`;
    evidence.report('stats', stats.group, '', `${side}: ${told}; ${real}`);
  }
}
