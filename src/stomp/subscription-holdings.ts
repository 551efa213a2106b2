import type { HeldDelivery } from './held-delivery.js';
import type { SessionServices } from './session-services.js';
import type { SubscriptionOptions } from './subscription-options.js';

/** How many deliveries whose timeout has passed are remembered: their receipts are good until somebody else has the message. */
const MAX_LAPSED = 1000;
/** Of the visibility timeout, after which a kept lease is prolonged. */
const PROLONG_AFTER = 1 / 3;

export interface HoldingTasks {
  /** The client is not to be told of it any more: its timeout has passed, and too many others' have. */
  readonly forget: (delivery: HeldDelivery) => void;
  /** Something is not held any more: there is credit for others. */
  readonly freed: () => void;
}

/**
 * What a subscription holds, and what becomes of it with time: its visibility timeout passes, or is prolonged where the lease is
 * kept. What was held for longer than its timeout does not count: others may have it by now.
 */
export class SubscriptionHoldings {
  private readonly held = new Set<HeldDelivery>();
  /** Acknowledged or refused, and not carried out yet. */
  private readonly leaving = new Set<HeldDelivery>();
  private readonly lapsed = new Set<HeldDelivery>();
  private timer: NodeJS.Timeout | undefined;
  private isEnded = false;

  constructor(
    private readonly options: SubscriptionOptions,
    private readonly services: SessionServices,
    private readonly tasks: HoldingTasks,
  ) {}

  /** What is not settled yet. */
  get size(): number {
    return this.held.size + this.leaving.size;
  }

  /**
   * For how many more messages there is room: what is being settled takes none, but of that there may be as much again at
   * most, or a slow database would be given ever more to delete.
   */
  get credit(): number {
    const { prefetch } = this.options;
    return Math.min(prefetch, 2 * prefetch - this.leaving.size) - this.held.size;
  }

  add(deliveries: readonly HeldDelivery[]): void {
    for (const delivery of deliveries) this.held.add(delivery);
    this.services.figures.unacknowledged += deliveries.length;
    this.watch();
  }

  /** Of those that nobody settles, the ones up to and with this one, oldest first. */
  upTo(named: HeldDelivery): HeldDelivery[] {
    const before: HeldDelivery[] = [];
    for (const delivery of [...this.lapsed, ...this.held]) {
      if (delivery.isSettling) continue;
      if (delivery.sequence <= named.sequence) before.push(delivery);
    }
    return before;
  }

  /** An ACK or NACK of them is being carried out. */
  leave(deliveries: readonly HeldDelivery[]): void {
    for (const delivery of deliveries) if (this.held.delete(delivery)) this.leaving.add(delivery);
  }

  /** They are acknowledged, or given back. */
  remove(deliveries: readonly HeldDelivery[]): void {
    for (const delivery of deliveries) {
      this.drop(delivery);
      this.lapsed.delete(delivery);
    }
  }

  /** Nothing is prolonged from now on. */
  end(): void {
    this.isEnded = true;
    clearTimeout(this.timer);
  }

  /** Forgets all, and returns what was held. */
  clear(): HeldDelivery[] {
    const left = [...this.held, ...this.leaving];
    for (const delivery of left) this.drop(delivery);
    this.lapsed.clear();
    return left;
  }

  private drop(delivery: HeldDelivery): void {
    if (this.held.delete(delivery) || this.leaving.delete(delivery)) this.services.figures.unacknowledged -= 1;
  }

  /** One timer for the earliest timeout of what is held, or for prolonging it. */
  private watch(): void {
    clearTimeout(this.timer);
    let next = Infinity;
    for (const delivery of this.held) {
      if (!delivery.isSettling) next = Math.min(next, this.dueAt(delivery));
    }
    if (next === Infinity || this.isEnded) return;
    this.timer = setTimeout(() => this.lapse(), Math.max(10, next - performance.now())).unref();
  }

  /** When something has to be done about a delivery that is held. */
  private dueAt(delivery: HeldDelivery): number {
    return this.mayProlong(delivery)
      ? delivery.prolongedAt + (delivery.lapsesAt - delivery.prolongedAt) * PROLONG_AFTER
      : delivery.lapsesAt;
  }

  private mayProlong(delivery: HeldDelivery): boolean {
    return (
      this.options.keepsLease && delivery.deliveredAt + this.services.configuration.stompLeaseMs > performance.now()
    );
  }

  private lapse(): void {
    const now = performance.now();
    const toProlong: HeldDelivery[] = [];
    for (const delivery of this.held) {
      if (delivery.isSettling || this.dueAt(delivery) > now) continue;
      if (this.mayProlong(delivery)) toProlong.push(delivery);
      else this.lapseOne(delivery);
    }
    if (toProlong.length > 0) void this.prolong(toProlong);
    this.watch();
    this.tasks.freed();
  }

  private lapseOne(delivery: HeldDelivery): void {
    this.drop(delivery);
    this.lapsed.add(delivery);
    const [oldest] = this.lapsed;
    if (this.lapsed.size <= MAX_LAPSED || oldest === undefined) return;
    this.lapsed.delete(oldest);
    this.tasks.forget(oldest);
  }

  /** Where that fails their timeouts pass, or the next time succeeds. */
  private async prolong(deliveries: readonly HeldDelivery[]): Promise<void> {
    const now = performance.now();
    for (const delivery of deliveries) delivery.prolongedAt = now;
    const { caller, target } = this.options;
    try {
      const { reference, consumerGroupId } = target;
      const { outcome: areHeld } = await this.services.deliveries.updateHeld(
        caller,
        reference,
        consumerGroupId,
        deliveries,
      );
      for (const [index, delivery] of deliveries.entries()) {
        if (areHeld[index] === true) delivery.lapsesAt = now + delivery.visibilityInSeconds * 1000;
      }
    } catch (error) {
      this.services.logger.warn({ err: error }, 'visibility timeouts could not be prolonged');
    }
    this.watch();
  }
}
