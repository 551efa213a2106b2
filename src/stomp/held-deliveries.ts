import type { Durability } from '../messages/durability.js';
import type { Delivery } from '../messages/gets.service.js';
import type { HeldDelivery } from './held-delivery.js';
import type { Subscription } from './subscription.js';

/** What a client holds on one connection, by the names that it knows it under. */
export class HeldDeliveries {
  private readonly byAckId = new Map<string, HeldDelivery>();
  private sequence = 0;

  get size(): number {
    return this.byAckId.size;
  }

  add(subscription: Subscription, delivery: Delivery, durability: Durability): HeldDelivery {
    this.sequence += 1;
    const now = performance.now();
    const held: HeldDelivery = {
      ackId: `${delivery.id}-${this.sequence}`,
      sequence: this.sequence,
      subscription,
      id: delivery.id,
      receiptNumber: delivery.receiptNumber,
      channelId: delivery.channelId,
      durability,
      deliveredAt: now,
      visibilityInSeconds: Math.max(1, Math.round(delivery.hiddenForMs / 1000)),
      lapsesAt: now + delivery.hiddenForMs,
      prolongedAt: now,
      isSettling: false,
    };
    this.byAckId.set(held.ackId, held);
    return held;
  }

  find(ackId: string): HeldDelivery | undefined {
    return this.byAckId.get(ackId);
  }

  /** The client has said what becomes of them: naming one of them again is a mistake. */
  settling(deliveries: readonly HeldDelivery[]): void {
    for (const delivery of deliveries) {
      delivery.isSettling = true;
      this.byAckId.delete(delivery.ackId);
    }
  }

  /** The client may name them again: what it has said of them is void. */
  restore(deliveries: readonly HeldDelivery[]): void {
    for (const delivery of deliveries) {
      delivery.isSettling = false;
      if (!delivery.subscription.isEnded) this.byAckId.set(delivery.ackId, delivery);
    }
  }

  forget(delivery: HeldDelivery): void {
    this.byAckId.delete(delivery.ackId);
  }

  forgetAll(subscription: Subscription): void {
    for (const delivery of this.byAckId.values()) {
      if (delivery.subscription === subscription) this.byAckId.delete(delivery.ackId);
    }
  }
}
