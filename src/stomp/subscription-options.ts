import type { Caller } from '../identity/caller.js';
import type { DeliveriesService } from '../messages/deliveries.service.js';

type MessageRange = Parameters<DeliveriesService['giveBack']>[0];

export type AckMode = 'auto' | 'client' | 'client-individual';

/** What is subscribed to. */
export interface SubscriptionTarget {
  /** The queue's OCID, with /dlq for its dead letter queue. */
  readonly reference: string;
  readonly range: MessageRange;
  readonly consumerGroupId: string | undefined;
  /** Null: any. */
  readonly channelId: string | null;
}

export interface SubscriptionOptions {
  readonly id: string;
  /** As the client wrote it: MESSAGE frames repeat it. */
  readonly destination: string;
  readonly caller: Caller;
  readonly target: SubscriptionTarget;
  readonly ack: AckMode;
  /** How many messages it may hold at once. */
  readonly prefetch: number;
  /** Undefined: the queue's. */
  readonly visibilityInSeconds: number | undefined;
  readonly releasesOnDisconnect: boolean;
  readonly keepsLease: boolean;
  readonly ignoresStale: boolean;
}
