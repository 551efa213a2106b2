import { nameOf, ROUNDING_MS, type Delivery, type Evidence, type Fate } from './evidence.js';

/** Between each delivery and the next one lies the window of the first, and the receipt of the first is dead then. */
export function checkWindows(evidence: Evidence, { key, group, deliveries }: Fate): void {
  for (const [index, delivery] of deliveries.entries()) {
    const next = deliveries[index + 1];
    if (next === undefined) continue;
    const hiddenUntil = earliestEnd(evidence, delivery, next.claimedAt);
    if (next.claimedAt < hiddenUntil - ROUNDING_MS) {
      const early = Math.round(hiddenUntil - next.claimedAt);
      const what = `${nameOf(next)} came ${early} ms before the window of ${nameOf(delivery)} ended`;
      evidence.report('holder', group.name, key, what);
    }
  }
}

/**
 * The earliest time at which the window of a delivery may have ended, as it was set at `at`: by the delivery itself or
 * by the last confirmed update before; by one that cannot be put before or after `at`; by one of unknown outcome; or by its
 * release.
 */
export function earliestEnd(evidence: Evidence, delivery: Delivery, at: number): number {
  let last = { at: delivery.claimedAt, end: delivery.visibleAfter };
  const { clockToleranceMs } = evidence.rules;
  const released = evidence.releasesOf(delivery.receipt).map(({ calledAt }) => calledAt - clockToleranceMs);
  let earliest = Math.min(...released);
  for (const update of evidence.updatesWith(delivery.receipt)) {
    if (update.outcome === 'refused') continue;
    const ms = update.visibilityInSeconds * 1000;
    // One that was done and does not tell its time is known to be over once it is answered.
    const end = update.visibleAfter ?? update.calledAt + ms - clockToleranceMs;
    if (update.visibleAfter === null && (update.outcome === 'unknown' || update.answeredAt >= at - clockToleranceMs)) {
      earliest = Math.min(earliest, end);
      continue;
    }
    const updatedAt = update.visibleAfter === null ? update.calledAt : end - ms;
    if (Math.abs(updatedAt - at) <= ROUNDING_MS) earliest = Math.min(earliest, end);
    else if (updatedAt < at) {
      // Two of one moment: either may have been the last.
      if (Math.abs(updatedAt - last.at) <= ROUNDING_MS) earliest = Math.min(earliest, end, last.end);
      if (updatedAt >= last.at) last = { at: updatedAt, end };
    }
  }
  return Math.min(last.end, earliest);
}

/** The latest time at which the window of a delivery may have ended. */
export function latestEnd(evidence: Evidence, delivery: Delivery): number {
  const { clockToleranceMs, lingerMs } = evidence.rules;
  const ends = evidence.updatesWith(delivery.receipt).map((update) => {
    if (update.visibleAfter !== null) return update.visibleAfter;
    if (update.outcome === 'refused') return -Infinity;
    return update.answeredAt + lingerMs + clockToleranceMs + update.visibilityInSeconds * 1000;
  });
  return Math.max(delivery.visibleAfter, ...ends);
}
