import type {
  DeleteCall,
  GetCall,
  History,
  Operation,
  PutCall,
  ReceivedMessage,
  Rules,
  SentMessage,
  StatsCall,
  UpdateCall,
} from './history.js';

/*
 * The history checker: which promises of the queue does a recorded history break?
 *
 * It reports only what no order of the operations can explain. Three facts make that possible without a search:
 *
 * 1. Every delivery and every confirmed update tells its moment by the database's own clock: `visibleAfter` less the
 *    visibility timeout asked for. So the deliveries of a message have one order, and whether one fell into the window
 *    of the one before it is a comparison of two times of one clock (give or take `ROUNDING_MS`).
 * 2. Deletes have no such time, but need none: after the delete of a message there are no deliveries of it, and before
 *    it, since the receipt must be that of the last delivery, no later ones.
 * 3. What is unknown to the client (an aborted poll, a lost answer) is allowed everything it may have done: a delivery
 *    that nobody saw, a visibility changed, a message deleted or stored.
 *
 * What is compared with the client's clock is given the tolerance that the rules state.
 */

export const PROPERTIES = {
  lost: 'no acknowledged message is lost',
  nowhere: 'nothing comes from nowhere',
  atomic: 'a put stores all of its messages or none',
  early: 'no delivery before the delay is over',
  holder: 'no two holders inside one visibility window',
  afterDelete: 'no delivery after a confirmed delete',
  stale: 'a stale receipt changes nothing',
  live: 'a live receipt is honoured',
  count: 'the delivery count is exact',
  deadLetter: 'in the dead letter queue exactly when the limit was passed',
  times: 'answered times are true',
  stats: 'the statistics converge to the truth',
} as const;
export type Property = (typeof PROPERTIES)[keyof typeof PROPERTIES];

export interface Violation {
  readonly property: Property;
  /** The key of the message; '' where it is about no single one. */
  readonly key: string;
  readonly what: string;
}

/** Times come in whole milliseconds, each rounded by itself. */
const ROUNDING_MS = 2;

interface Delivery extends ReceivedMessage {
  readonly get: GetCall;
  readonly deadLetter: boolean;
  /** The moment of the claim, by the database's clock. */
  readonly claimedAt: number;
}

interface Fate {
  readonly key: string;
  readonly put: PutCall;
  readonly sent: SentMessage;
  /** In the order of their claims. */
  readonly deliveries: Delivery[];
  readonly deletes: DeleteCall[];
}

/** Returns every breach that is found; an empty array for a good history. */
export function checkHistory(history: History): Violation[] {
  return new Check(history).run();
}

class Check {
  private readonly rules: Rules;
  private readonly violations: Violation[] = [];
  private readonly fates = new Map<string, Fate>();
  private readonly byReceipt = new Map<string, Delivery>();
  private readonly updates = new Map<string, UpdateCall[]>();
  /** Gets that may have delivered what nobody saw. */
  private readonly blindGets: GetCall[];
  /** Deliveries that only a blind get can explain. */
  private readonly unseen = { queue: 0, dlq: 0 };

  constructor(private readonly history: History) {
    this.rules = history.rules;
    this.blindGets = only(history.operations, 'get').filter(({ outcome }) => outcome === 'unknown');
  }

  run(): Violation[] {
    const { operations } = this.history;
    for (const put of only(operations, 'put')) this.readPut(put);
    for (const get of only(operations, 'get')) this.readGet(get);
    for (const update of only(operations, 'update')) {
      const known = this.updates.get(update.receipt);
      if (known === undefined) this.updates.set(update.receipt, [update]);
      else known.push(update);
    }
    for (const call of only(operations, 'delete')) this.fateOf(call.receipt)?.deletes.push(call);
    for (const fate of this.fates.values()) {
      fate.deliveries.sort((a, b) => a.claimedAt - b.claimedAt || a.deliveryCount - b.deliveryCount);
      this.checkDeliveries(fate);
      this.checkCounts(fate);
      this.checkDeletes(fate);
      this.checkEnd(fate);
    }
    for (const update of only(operations, 'update')) this.checkUpdate(update);
    for (const put of only(operations, 'put')) this.checkAllOrNone(put);
    for (const stats of only(operations, 'stats')) this.checkStats(stats);
    this.checkUnseen();
    return this.violations;
  }

  private report(property: keyof typeof PROPERTIES, key: string, what: string): void {
    this.violations.push({ property: PROPERTIES[property], key, what });
  }

  private readPut(put: PutCall): void {
    for (const sent of put.messages) {
      if (this.fates.has(sent.key)) throw new Error(`the test put ${sent.key} twice`);
      this.fates.set(sent.key, { key: sent.key, put, sent, deliveries: [], deletes: [] });
    }
  }

  private readGet(get: GetCall): void {
    const seconds = get.visibilityInSeconds ?? this.rules.visibilityInSeconds;
    if (seconds === 0) throw new Error('the checker does not take gets with a visibility of 0');
    for (const message of get.messages) {
      const claimedAt = message.visibleAfter - seconds * 1000;
      const delivery: Delivery = { ...message, get, deadLetter: get.deadLetter, claimedAt };
      if (!this.isWithin(claimedAt, get)) {
        this.report('times', message.key, `claimed at ${claimedAt}, outside its get ${interval(get)}`);
      }
      const fate = this.fates.get(message.key);
      if (fate === undefined) {
        this.report('nowhere', message.key, 'was delivered and never put');
        continue;
      }
      fate.deliveries.push(delivery);
      if (!this.byReceipt.has(message.receipt)) this.byReceipt.set(message.receipt, delivery);
      this.checkOrigin(fate, delivery);
    }
  }

  private checkOrigin({ key, put, sent, deliveries }: Fate, delivery: Delivery): void {
    const { claimedAt, get } = delivery;
    const id = sent.id ?? deliveries[0]?.id;
    if (put.outcome === 'refused') this.report('nowhere', key, 'was delivered though its put was refused');
    if (claimedAt < put.calledAt - this.rules.clockToleranceMs) {
      this.report('nowhere', key, `was delivered at ${claimedAt}, before its put ${interval(put)}`);
    }
    if (delivery.id !== id) this.report('nowhere', key, `was delivered under the id ${delivery.id} and has ${id}`);
    if (delivery.channelId !== sent.channelId || (get.channelId !== null && get.channelId !== sent.channelId)) {
      this.report('nowhere', key, `was put into channel '${sent.channelId}' and came from '${delivery.channelId}'`);
    }
    const visibleAt = put.calledAt + sent.delayInSeconds * 1000 - this.rules.clockToleranceMs;
    if (sent.delayInSeconds > 0 && claimedAt < visibleAt) {
      this.report('early', key, `was delivered ${Math.round(visibleAt - claimedAt)} ms before its delay was over`);
    }
  }

  /** Between each delivery and the next one lies the window of the first, and the receipt of the first is dead then. */
  private checkDeliveries({ key, deliveries }: Fate): void {
    for (const [index, delivery] of deliveries.entries()) {
      const next = deliveries[index + 1];
      if (next === undefined) continue;
      const hiddenUntil = this.earliestEnd(delivery, next.claimedAt);
      if (next.claimedAt < hiddenUntil - ROUNDING_MS) {
        const early = Math.round(hiddenUntil - next.claimedAt);
        this.report('holder', key, `${nameOf(next)} came ${early} ms before the window of ${nameOf(delivery)} ended`);
      }
    }
  }

  /**
   * The earliest time at which the window of a delivery may have ended, as it was set at `at`: by the delivery itself or
   * by the last confirmed update before; by one that cannot be put before or after `at`; by one of unknown outcome.
   */
  private earliestEnd(delivery: Delivery, at: number): number {
    let last = { at: delivery.claimedAt, end: delivery.visibleAfter };
    let earliest = Infinity;
    for (const update of this.updates.get(delivery.receipt) ?? []) {
      const { visibleAfter: end } = update;
      const ms = update.visibilityInSeconds * 1000;
      if (end === null) {
        if (update.outcome === 'unknown') {
          earliest = Math.min(earliest, update.calledAt + ms - this.rules.clockToleranceMs);
        }
        continue;
      }
      const updatedAt = end - ms;
      if (Math.abs(updatedAt - at) <= ROUNDING_MS) earliest = Math.min(earliest, end);
      else if (updatedAt < at) {
        // Two of one moment: either may have been the last.
        if (Math.abs(updatedAt - last.at) <= ROUNDING_MS) earliest = Math.min(earliest, end, last.end);
        if (updatedAt >= last.at) last = { at: updatedAt, end };
      }
    }
    return Math.min(last.end, earliest);
  }

  private checkCounts(fate: Fate): void {
    const { deliveryLimit: limit } = this.rules;
    let before = { count: 0, at: fate.put.calledAt, deadLetter: false };
    for (const delivery of fate.deliveries) {
      const { deliveryCount: count, claimedAt: at, deadLetter } = delivery;
      if (deadLetter && limit === 0) this.report('deadLetter', fate.key, 'became a dead letter, and there is no limit');
      if (!deadLetter && limit > 0 && count > limit) {
        this.report('deadLetter', fate.key, `was delivered for the ${count}th time, and ${limit} are allowed`);
      }
      if (!deadLetter && before.deadLetter) {
        this.report('deadLetter', fate.key, `${nameOf(delivery)} came out of the queue after the dead letter queue`);
      }
      if (count <= before.count) {
        this.report('count', fate.key, `${nameOf(delivery)} follows one with the count ${before.count}`);
      } else if (deadLetter && !before.deadLetter) {
        if (count <= limit) {
          this.report('deadLetter', fate.key, `was a dead letter after ${count - 1} deliveries of ${limit}`);
        } else {
          this.explainUnseen(fate, delivery, false, limit - before.count, before.at);
          this.explainUnseen(fate, delivery, true, count - 1 - limit, before.at);
        }
      } else {
        this.explainUnseen(fate, delivery, deadLetter, count - 1 - before.count, before.at);
      }
      before = { count, at, deadLetter };
    }
  }

  /** Deliveries were counted that nobody saw: each must have been for a client that may have missed it. */
  private explainUnseen(fate: Fate, next: Delivery, deadLetter: boolean, missing: number, since: number): void {
    if (missing <= 0) return;
    this.unseen[deadLetter ? 'dlq' : 'queue'] += missing;
    const possible = this.blindGetsFor(fate, deadLetter, since, next.claimedAt).length;
    if (missing > possible) {
      const property = next.deadLetter && !deadLetter ? 'deadLetter' : 'count';
      this.report(
        property,
        fate.key,
        `${nameOf(next)}: ${missing} before it were not seen, ${possible} can be explained`,
      );
    }
  }

  private blindGetsFor({ sent }: Fate, deadLetter: boolean, since: number, until: number): GetCall[] {
    const { clockToleranceMs, lingerMs } = this.rules;
    return this.blindGets.filter(
      (get) =>
        get.deadLetter === deadLetter &&
        (get.channelId === null || get.channelId === sent.channelId) &&
        get.calledAt - clockToleranceMs <= until &&
        get.answeredAt + lingerMs + clockToleranceMs >= since,
    );
  }

  /** Each unknown get can account for no more deliveries than it asked for. */
  private checkUnseen(): void {
    for (const name of ['queue', 'dlq'] as const) {
      const gets = this.blindGets.filter(({ deadLetter }) => deadLetter === (name === 'dlq'));
      const possible = gets.reduce((sum, { limit }) => sum + limit, 0);
      const unseen = this.unseen[name];
      if (unseen <= possible) continue;
      this.report('count', '', `${name}: ${unseen} deliveries were seen by nobody, and ${possible} can be explained`);
    }
  }

  private checkDeletes(fate: Fate): void {
    let confirmed: DeleteCall | null = null;
    for (const call of fate.deletes) {
      const delivery = this.byReceipt.get(call.receipt);
      if (delivery === undefined) continue;
      if (call.outcome === 'refused') this.checkRefusal(fate, delivery, call);
      if (call.outcome !== 'done') continue;
      if (confirmed !== null) {
        this.report('stale', fate.key, `was deleted twice, ${interval(confirmed)} and ${interval(call)}`);
      }
      confirmed = call;
      for (const later of fate.deliveries) {
        if (later.claimedAt <= delivery.claimedAt) continue;
        if (later.claimedAt < call.calledAt) {
          this.report('stale', fate.key, `the receipt of ${nameOf(delivery)} deleted it after ${nameOf(later)}`);
        } else {
          this.report('afterDelete', fate.key, `${nameOf(later)} came though it was deleted ${interval(call)}`);
        }
      }
    }
  }

  private checkUpdate(update: UpdateCall): void {
    const delivery = this.byReceipt.get(update.receipt);
    const fate = delivery === undefined ? undefined : this.fates.get(delivery.key);
    if (delivery === undefined || fate === undefined) return;
    if (update.outcome === 'refused') this.checkRefusal(fate, delivery, update);
    if (update.visibleAfter === null) return;
    const updatedAt = update.visibleAfter - update.visibilityInSeconds * 1000;
    if (!this.isWithin(updatedAt, update)) {
      this.report('times', fate.key, `updated at ${updatedAt}, outside its update ${interval(update)}`);
    }
    for (const later of fate.deliveries) {
      if (later.claimedAt > delivery.claimedAt && later.claimedAt < updatedAt - ROUNDING_MS) {
        this.report('stale', fate.key, `the receipt of ${nameOf(delivery)} changed it after ${nameOf(later)}`);
      }
    }
    for (const call of fate.deletes) {
      if (call.outcome === 'done' && call.answeredAt < update.calledAt) {
        this.report('stale', fate.key, `an update ${interval(update)} found it after its delete ${interval(call)}`);
      }
    }
  }

  /** A receipt may be refused once it is dead: delivered again, deleted, or dead-lettered. */
  private checkRefusal(fate: Fate, delivery: Delivery, call: UpdateCall | DeleteCall): void {
    const until = call.answeredAt + this.rules.clockToleranceMs;
    const isOver = this.earliestEnd(delivery, until) <= until;
    const wasDeliveredAgain = fate.deliveries.some(
      (other) => other !== delivery && other.claimedAt >= delivery.claimedAt && other.claimedAt <= until,
    );
    const wasDeleted = fate.deletes.some(
      (other) => other !== call && other.outcome !== 'refused' && other.calledAt <= call.answeredAt,
    );
    const isDeadLetter = !delivery.deadLetter && delivery.deliveryCount >= this.rules.deliveryLimit && isOver;
    const mayBeUnseen =
      isOver && this.blindGetsFor(fate, delivery.deadLetter, delivery.claimedAt, call.answeredAt).length > 0;
    if (wasDeliveredAgain || wasDeleted || isDeadLetter || mayBeUnseen) return;
    this.report('live', fate.key, `the receipt of ${nameOf(delivery)} was refused ${interval(call)} for no reason`);
  }

  /** What exists must have been deleted or must be there in the end. */
  private checkEnd(fate: Fate): void {
    const exists = fate.put.outcome === 'done' || fate.deliveries.length > 0;
    const isGone = fate.deletes.some(({ outcome }) => outcome !== 'refused');
    if (!exists || isGone || fate.deliveries.some(({ get }) => get.isFinal)) return;
    const last = fate.deliveries.at(-1);
    this.report(
      'lost',
      fate.key,
      `put ${interval(fate.put)}, ${last === undefined ? 'never delivered' : nameOf(last)}`,
    );
  }

  private checkAllOrNone(put: PutCall): void {
    if (put.outcome !== 'unknown') return;
    const seen = put.messages.filter(({ key }) => (this.fates.get(key)?.deliveries.length ?? 0) > 0);
    if (seen.length > 0 && seen.length < put.messages.length) {
      this.report('atomic', seen[0]?.key ?? '', `${seen.length} of ${put.messages.length} messages of a put exist`);
    }
  }

  /** What there was when the statistics were read is what was delivered after that, from where it was delivered. */
  private checkStats(stats: StatsCall): void {
    const truth = { queue: { messages: 0, bytes: 0 }, dlq: { messages: 0, bytes: 0 } };
    for (const { deliveries, put, sent } of this.fates.values()) {
      if (put.calledAt > stats.answeredAt) continue;
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
      this.report(
        'stats',
        '',
        `${name}: ${visibleMessages} visible, ${inFlightMessages} in flight, ${sizeInBytes} bytes were told; ` +
          `${messages} visible, 0 in flight, ${bytes} bytes are true`,
      );
    }
  }

  private fateOf(receipt: string): Fate | undefined {
    const delivery = this.byReceipt.get(receipt);
    return delivery === undefined ? undefined : this.fates.get(delivery.key);
  }

  private isWithin(at: number, { calledAt, answeredAt }: Operation): boolean {
    const { clockToleranceMs } = this.rules;
    return at >= calledAt - clockToleranceMs && at <= answeredAt + clockToleranceMs;
  }
}

function only<Kind extends Operation['kind']>(
  operations: readonly Operation[],
  kind: Kind,
): Extract<Operation, { kind: Kind }>[] {
  return operations.filter((each): each is Extract<Operation, { kind: Kind }> => each.kind === kind);
}

function nameOf({ deliveryCount, deadLetter, claimedAt }: Delivery): string {
  return `delivery ${deliveryCount}${deadLetter ? ' (dead letter)' : ''} at ${claimedAt}`;
}

function interval({ calledAt, answeredAt, outcome }: Operation): string {
  return `[${Math.round(calledAt)}, ${Math.round(answeredAt)}] (${outcome})`;
}
