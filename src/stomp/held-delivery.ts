import type { Durability } from '../messages/durability.js';
import type { Subscription } from './subscription.js';

/** A message that a subscription was given and that is not settled yet. Times are on the monotonic clock. */
export interface HeldDelivery {
  /** What the client names it by: `message-id`, and `ack` in 1.2. Of this delivery alone, not of the message. */
  readonly ackId: string;
  /** Grows with each delivery of the connection. */
  readonly sequence: number;
  readonly subscription: Subscription;
  /** Of the message. */
  readonly id: number;
  /** Of the delivery: together they are what a receipt stands for. */
  readonly receiptNumber: number;
  readonly channelId: string;
  /** Of its queue, when it was delivered. */
  readonly durability: Durability;
  readonly deliveredAt: number;
  /** For how long it was hidden, to prolong that. */
  readonly visibilityInSeconds: number;
  /** When its visibility timeout ends. */
  lapsesAt: number;
  /** Since when that is counted. */
  prolongedAt: number;
  /** An ACK or NACK for it was read. */
  isSettling: boolean;
}
