import type { Caller } from '../identity/caller.js';
import type { Confirmed, Durability } from '../messages/durability.js';
import type { HeldDelivery } from './held-delivery.js';
import { withPatience } from './patience.js';
import type { SessionServices } from './session-services.js';
import type { Subscription } from './subscription.js';

/** An ACK or a NACK on its way. */
export interface Settlement {
  readonly caller: Caller;
  readonly subscription: Subscription;
  /** Null: acknowledged, so the messages are deleted; else after how many seconds they are visible again. */
  readonly visibleInSeconds: number | null;
  readonly deliveries: readonly HeldDelivery[];
  /** The one that the client named: that it is stale is an error, of those before it is not. */
  readonly named: HeldDelivery;
  /** It must not happen before so many SENDs are stored: those that the client sent before it. */
  readonly afterSends: number;
  /** `isStale`: somebody else has the message by now, or it is gone. */
  readonly settled: (isStale: boolean, durability: Durability) => void;
  readonly failed: (error: unknown) => void;
}

const MAX_DELIVERIES = 200;

/**
 * The ACKs and NACKs of one connection, in their order. As with SENDs, one statement is under way and the next ones gather, and
 * those of one subscription are merged. An ACK waits for the SENDs before it, so that whoever sends what came of a message and
 * then acknowledges it loses nothing when the pod dies in between; a SEND does not wait for ACKs.
 */
export class SettlementLane {
  private readonly waiting: Settlement[] = [];
  private running: Promise<void> | null = null;
  private hasFailed = false;

  constructor(
    private readonly services: SessionServices,
    private readonly sendsStored: () => number,
  ) {}

  add(settlement: Settlement): void {
    if (!this.hasFailed) this.waiting.push(settlement);
  }

  start(): void {
    if (this.running !== null || !this.mayGoOn) return;
    this.running = this.run().finally(() => {
      this.running = null;
    });
  }

  /** Resolves once nothing is under way that could go on; SENDs come first. */
  async idle(): Promise<void> {
    this.start();
    await this.running;
  }

  private get mayGoOn(): boolean {
    const [first] = this.waiting;
    return first !== undefined && first.afterSends <= this.sendsStored();
  }

  private async run(): Promise<void> {
    while (this.mayGoOn) {
      const batch = this.nextBatch();
      this.waiting.splice(0, batch.length);
      try {
        await this.settle(batch);
      } catch (error) {
        this.hasFailed = true;
        this.waiting.length = 0;
        batch[0]?.failed(error);
      }
    }
  }

  private nextBatch(): Settlement[] {
    const [first] = this.waiting;
    if (first === undefined) return [];
    const batch: Settlement[] = [];
    let deliveries = 0;
    for (const settlement of this.waiting) {
      deliveries += settlement.deliveries.length;
      const fits =
        settlement.subscription === first.subscription &&
        (settlement.visibleInSeconds === null) === (first.visibleInSeconds === null) &&
        settlement.afterSends <= this.sendsStored() &&
        (batch.length === 0 || deliveries <= MAX_DELIVERIES);
      if (!fits) break;
      batch.push(settlement);
    }
    return batch;
  }

  private async settle(batch: readonly Settlement[]): Promise<void> {
    const [first] = batch;
    if (first === undefined) return;
    const { outcome: areDone, durability } = await this.apply(first, batch);
    let next = 0;
    for (const settlement of batch) {
      let namedIsStale = false;
      for (const delivery of settlement.deliveries) {
        if (delivery === settlement.named) namedIsStale = areDone[next] === false;
        next += 1;
      }
      settlement.subscription.settled(settlement.deliveries);
      settlement.settled(namedIsStale, durability);
    }
  }

  /** Whether each delivery of the batch, in order, was still held. */
  private apply({ caller, subscription }: Settlement, batch: readonly Settlement[]): Promise<Confirmed<boolean[]>> {
    const { reference, consumerGroupId } = subscription.target;
    const { deliveries } = this.services;
    const entries = batch.flatMap(({ visibleInSeconds, deliveries: held }) =>
      held.map(({ id, receiptNumber }) => ({ id, receiptNumber, visibilityInSeconds: visibleInSeconds ?? 0 })),
    );
    const isDeletion = batch[0]?.visibleInSeconds === null;
    return withPatience(() =>
      isDeletion
        ? deliveries.deleteHeld(caller, reference, consumerGroupId, entries)
        : deliveries.updateHeld(caller, reference, consumerGroupId, entries),
    );
  }
}
