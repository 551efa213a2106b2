import type { RedriveCall } from '../history.js';
import { interval, nameOf, nameOfSide, type Delivery, type Evidence, type Fate } from './evidence.js';
import { earliestEnd, latestEnd } from './windows.js';

/** Where a message stands after a delivery; before the first one it has the count 0. */
interface Standing {
  readonly count: number;
  readonly deadLetter: boolean;
  readonly at: number;
  readonly delivery: Delivery | null;
}

/**
 * Delivery counts, and when a message is a dead letter. From one delivery that was seen to the next, a message may
 * have been delivered to clients that never saw it, have died, and have been redriven; the counts of the two say how much of
 * that there was. A redrive is needed only where the count does not go on: assuming one elsewhere explains nothing,
 * because the message would have to die once more.
 */
export class Counts {
  /** Deliveries that only a blind get can explain, by side. */
  private readonly unseen = new Map<string, number>();

  constructor(private readonly evidence: Evidence) {}

  check(fate: Fate): void {
    const limit = fate.group.deliveryLimit;
    let before: Standing = { count: 0, deadLetter: false, at: fate.put.calledAt, delivery: null };
    for (const delivery of fate.deliveries) {
      const { deliveryCount: count, claimedAt: at, deadLetter } = delivery;
      if (deadLetter && limit === 0) this.report('deadLetter', fate, 'became a dead letter, and there is no limit');
      if (!deadLetter && limit > 0 && count > limit) {
        this.report('deadLetter', fate, `was delivered for the ${count}th time, and ${limit} are allowed`);
      }
      const goesOn = count > before.count && (deadLetter || !before.deadLetter);
      if (goesOn) this.checkNext(fate, before, delivery);
      else if (limit > 0 && this.evidence.redrivesOf(fate).some((each) => this.mayHaveMoved(each, fate, before, at))) {
        if (!before.deadLetter) this.explain(fate, delivery, false, limit - before.count, before.at);
        this.checkNext(fate, { ...before, count: 0, deadLetter: false }, delivery);
      } else {
        if (!deadLetter && before.deadLetter) {
          this.report('deadLetter', fate, `${nameOf(delivery)} came out of the queue after the dead letter queue`);
        }
        if (count <= before.count) {
          this.report('count', fate, `${nameOf(delivery)} follows one with the count ${before.count}`);
        }
      }
      before = { count, deadLetter, at, delivery };
    }
  }

  /** Each unknown get can account for no more deliveries than it asked for. */
  checkUnseen(): void {
    for (const { name: group } of this.evidence.rules.groups) {
      for (const deadLetter of [false, true]) {
        const side = { group, deadLetter };
        const possible = this.evidence.blindGetsOn(side).reduce((sum, { limit }) => sum + limit, 0);
        const unseen = this.unseen.get(nameOfSide(side)) ?? 0;
        if (unseen <= possible) continue;
        const what = `${unseen} deliveries from ${nameOfSide(side)} were seen by nobody, ${possible} can be explained`;
        this.evidence.report('count', group, '', what);
      }
    }
  }

  /** The count goes on from `before`, with no redrive between. */
  private checkNext(fate: Fate, before: Standing, next: Delivery): void {
    const { deliveryCount: count, deadLetter } = next;
    const limit = fate.group.deliveryLimit;
    if (deadLetter === before.deadLetter) {
      this.explain(fate, next, deadLetter, count - 1 - before.count, before.at);
      if (deadLetter) this.checkRedriven(fate, before, next);
    } else if (count <= limit) {
      this.report('deadLetter', fate, `was a dead letter after ${count - 1} deliveries of ${limit}`);
    } else {
      this.explain(fate, next, false, limit - before.count, before.at);
      this.explain(fate, next, true, count - 1 - limit, before.at);
    }
  }

  /** Deliveries were counted that nobody saw: each must have been for a client that may have missed it. */
  private explain(fate: Fate, next: Delivery, deadLetter: boolean, missing: number, since: number): void {
    if (missing <= 0) return;
    const side = nameOfSide({ group: fate.group.name, deadLetter });
    this.unseen.set(side, (this.unseen.get(side) ?? 0) + missing);
    const possible = this.evidence.blindGetsFor(fate, deadLetter, since, next.claimedAt).length;
    if (missing <= possible) return;
    const property = next.deadLetter && !deadLetter ? 'deadLetter' : 'count';
    this.report(property, fate, `${nameOf(next)}: ${missing} before it were not seen, ${possible} can be explained`);
  }

  /**
   * Can the redrive have brought the message back between `before` and a delivery at `at`? It takes what had died when it
   * was called, and nothing that somebody holds.
   */
  private mayHaveMoved(redrive: RedriveCall, fate: Fate, before: Standing, at: number): boolean {
    const { clockToleranceMs, lingerMs } = this.evidence.rules;
    const startedBy = redrive.answeredAt + clockToleranceMs + (redrive.outcome === 'unknown' ? lingerMs : 0);
    const endedBy = (redrive.finishedAt ?? Infinity) + clockToleranceMs;
    const lastAlive = fate.deliveries.findLast((each) => !each.deadLetter && each.claimedAt <= before.at);
    const diedAfter = lastAlive === undefined ? fate.put.calledAt : earliestEnd(this.evidence, lastAlive, at);
    const heldUntil = before.delivery === null ? before.at : earliestEnd(this.evidence, before.delivery, at);
    return redrive.calledAt - clockToleranceMs <= at && startedBy >= diedAfter && endedBy >= heldUntil;
  }

  /** A dead letter that was visible all the time from the call of a redrive to its end is none afterwards. */
  private checkRedriven(fate: Fate, { delivery, at }: Standing, next: Delivery): void {
    if (delivery === null) return;
    const { clockToleranceMs } = this.evidence.rules;
    const heldUntil = latestEnd(this.evidence, delivery);
    const left = this.evidence
      .redrivesOf(fate)
      .find(
        ({ calledAt, finishedAt, isComplete }) =>
          isComplete &&
          heldUntil < calledAt - clockToleranceMs &&
          (finishedAt ?? Infinity) + clockToleranceMs < next.claimedAt,
      );
    // Who may have held it meanwhile, nobody knows; nor whether it died once more and was delivered since.
    if (left === undefined || this.evidence.blindGetsFor(fate, true, at, next.claimedAt).length > 0) return;
    this.report('redriven', fate, `${nameOf(next)} follows ${nameOf(delivery)} after the redrive ${interval(left)}`);
  }

  private report(property: 'count' | 'deadLetter' | 'redriven', { group, key }: Fate, what: string): void {
    this.evidence.report(property, group.name, key, what);
  }
}
