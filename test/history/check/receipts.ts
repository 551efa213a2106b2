import type { DeleteCall, UpdateCall } from '../history.js';
import { interval, nameOf, nameOfSide, ROUNDING_MS, type Delivery, type Evidence, type Fate } from './evidence.js';
import { earliestEnd } from './windows.js';

/** A receipt of one group or queue is none in another. */
export function checkSides(evidence: Evidence): void {
  for (const call of [...evidence.all('update'), ...evidence.all('delete')]) {
    if (call.outcome !== 'done' || evidence.isRightSide(call)) continue;
    const delivery = evidence.deliveryOf(call.receipt);
    if (delivery === undefined) continue;
    const what = `the receipt of ${nameOf(delivery)} was taken in ${nameOfSide(call)}, ${interval(call)}`;
    evidence.report('stale', delivery.get.group, delivery.key, what);
  }
}

export function checkDeletes(evidence: Evidence, fate: Fate): void {
  const { key, group, deliveries, deletes } = fate;
  const report = (property: 'stale' | 'afterDelete', what: string): void =>
    evidence.report(property, group.name, key, what);
  let confirmed: DeleteCall | null = null;
  for (const call of deletes) {
    const delivery = evidence.deliveryOf(call.receipt);
    if (delivery === undefined) continue;
    if (call.outcome === 'refused') checkRefusal(evidence, delivery, call);
    if (call.outcome !== 'done') continue;
    if (confirmed !== null) report('stale', `was deleted twice, ${interval(confirmed)} and ${interval(call)}`);
    confirmed = call;
    checkReleased(evidence, delivery, call);
    for (const later of deliveries) {
      if (later.claimedAt <= delivery.claimedAt) continue;
      if (later.claimedAt < call.calledAt) {
        report('stale', `the receipt of ${nameOf(delivery)} deleted it after ${nameOf(later)}`);
      } else {
        report('afterDelete', `${nameOf(later)} came though it was deleted ${interval(call)}`);
      }
    }
  }
}

export function checkUpdates(evidence: Evidence): void {
  for (const update of evidence.all('update')) {
    const delivery = evidence.deliveryOf(update.receipt);
    if (delivery !== undefined && evidence.isRightSide(update)) checkUpdate(evidence, delivery, update);
  }
}

function checkUpdate(evidence: Evidence, delivery: Delivery, update: UpdateCall): void {
  const { key, group, deliveries, deletes } = delivery.fate;
  const report = (property: 'times' | 'stale', what: string): void => evidence.report(property, group.name, key, what);
  if (update.outcome === 'refused') checkRefusal(evidence, delivery, update);
  if (update.outcome !== 'done') return;
  checkReleased(evidence, delivery, update);
  const { clockToleranceMs } = evidence.rules;
  const isTold = update.visibleAfter !== null;
  // Where its moment is not told, it is the earliest that it can have been.
  const updatedAt = isTold
    ? update.visibleAfter - update.visibilityInSeconds * 1000
    : update.calledAt - clockToleranceMs;
  if (isTold && !evidence.isWithin(updatedAt, update)) {
    report('times', `updated at ${updatedAt}, outside its update ${interval(update)}`);
  }
  for (const later of deliveries) {
    if (later.claimedAt > delivery.claimedAt && later.claimedAt < updatedAt - ROUNDING_MS) {
      report('stale', `the receipt of ${nameOf(delivery)} changed it after ${nameOf(later)}`);
    }
  }
  for (const call of deletes) {
    if (call.outcome === 'done' && call.answeredAt < update.calledAt) {
      report('stale', `an update ${interval(update)} found it after its delete ${interval(call)}`);
    }
  }
}

/** A receipt is dead once its holder has gone away, also before anybody else has the message. */
function checkReleased(evidence: Evidence, delivery: Delivery, call: UpdateCall | DeleteCall): void {
  const { receipt, fate } = delivery;
  const before = evidence
    .releasesOf(receipt)
    .find(({ outcome, answeredAt }) => outcome === 'done' && answeredAt < call.calledAt);
  if (before === undefined) return;
  const what = `the receipt of ${nameOf(delivery)} was taken ${interval(call)}, after its release ${interval(before)}`;
  evidence.report('stale', fate.group.name, fate.key, what);
}

/** A receipt may be refused once it is dead: the message was delivered again, deleted, released, dead-lettered or redriven. */
function checkRefusal(evidence: Evidence, delivery: Delivery, call: UpdateCall | DeleteCall): void {
  const { clockToleranceMs } = evidence.rules;
  const { fate, deadLetter, deliveryCount, claimedAt } = delivery;
  const until = call.answeredAt + clockToleranceMs;
  const end = earliestEnd(evidence, delivery, until);
  const wasDeliveredAgain = fate.deliveries.some(
    (other) => other !== delivery && other.claimedAt >= claimedAt && other.claimedAt <= until,
  );
  const wasDeleted = fate.deletes.some(
    (other) => other !== call && other.outcome !== 'refused' && other.calledAt <= call.answeredAt,
  );
  const wasReleased = evidence.releasesOf(delivery.receipt).some(({ calledAt }) => calledAt <= call.answeredAt);
  if (wasDeliveredAgain || wasDeleted || wasReleased) return;
  if (end <= until) {
    const limit = fate.group.deliveryLimit;
    const isDeadLetter = !deadLetter && limit > 0 && deliveryCount >= limit;
    const wasRedriven = (): boolean =>
      deadLetter &&
      evidence
        .redrivesOf(fate)
        .some(
          ({ calledAt, finishedAt }) =>
            calledAt - clockToleranceMs <= until && (finishedAt ?? Infinity) + clockToleranceMs >= end,
        );
    const mayBeUnseen = (): boolean => evidence.blindGetsFor(fate, deadLetter, claimedAt, call.answeredAt).length > 0;
    if (isDeadLetter || wasRedriven() || mayBeUnseen()) return;
  }
  const what = `the receipt of ${nameOf(delivery)} was refused ${interval(call)} for no reason`;
  evidence.report('live', fate.group.name, fate.key, what);
}
