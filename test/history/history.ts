/**
 * A history: what clients asked of one queue and what they were answered, with the times at which they did.
 *
 * `calledAt` and `answeredAt` are milliseconds of one machine's clock, which never goes back (see `clock`). The moment
 * at which the server did it lies between them. `visibleAfter` is the database's own word and far more precise: less
 * the visibility timeout that was asked for, it is the very moment of the delivery or update, on the one clock that
 * orders all of them.
 */
export interface History {
  readonly rules: Rules;
  readonly operations: readonly Operation[];
}

export interface Rules {
  /** The queue's visibility timeout, for gets that name none. */
  readonly visibilityInSeconds: number;
  /** The queue's `deadLetterQueueDeliveryCount`; 0: it has no dead letter queue. */
  readonly deliveryLimit: number;
  /** By how much the client's clock and the database's may differ. They are one machine's, but read differently. */
  readonly clockToleranceMs: number;
  /** For how long after its client gave up an operation may still take effect. */
  readonly lingerMs: number;
}

/**
 * done: answered with success. refused: answered that it had no effect (4xx). unknown: anything else (a lost connection,
 * a client that went away, 5xx), so it may have had its effect or not, until `lingerMs` after `answeredAt`.
 */
export type Outcome = 'done' | 'refused' | 'unknown';

interface Call {
  readonly calledAt: number;
  readonly answeredAt: number;
  readonly outcome: Outcome;
}

export interface PutCall extends Call {
  readonly kind: 'put';
  readonly messages: readonly SentMessage[];
}

export interface SentMessage {
  /** What the test calls the message: its content, never sent twice. */
  readonly key: string;
  /** '' is the queue itself. */
  readonly channelId: string;
  readonly delayInSeconds: number;
  readonly sizeInBytes: number;
  /** Null where the put was not acknowledged. */
  readonly id: number | null;
}

export interface GetCall extends Call {
  readonly kind: 'get';
  readonly deadLetter: boolean;
  /** Null: any. */
  readonly channelId: string | null;
  readonly limit: number;
  /** Null: the queue's. Gets with 0 begin no window; the checker does not take them. */
  readonly visibilityInSeconds: number | null;
  /** Part of the final drain: what it finds is not lost, even if its deletion is not confirmed. */
  readonly isFinal: boolean;
  readonly messages: readonly ReceivedMessage[];
}

export interface ReceivedMessage {
  readonly key: string;
  readonly id: number;
  readonly channelId: string;
  readonly receipt: string;
  readonly deliveryCount: number;
  readonly visibleAfter: number;
}

export interface UpdateCall extends Call {
  readonly kind: 'update';
  readonly receipt: string;
  readonly visibilityInSeconds: number;
  /** Null where it was not done. */
  readonly visibleAfter: number | null;
}

export interface DeleteCall extends Call {
  readonly kind: 'delete';
  readonly receipt: string;
}

/** Statistics, read after everything had stopped and while nothing was in flight or delayed. */
export interface StatsCall extends Call {
  readonly kind: 'stats';
  readonly queue: Figures;
  readonly dlq: Figures;
}

export interface Figures {
  readonly visibleMessages: number;
  readonly inFlightMessages: number;
  readonly sizeInBytes: number;
}

export type Operation = PutCall | GetCall | UpdateCall | DeleteCall | StatsCall;

const startedAt = Date.now() - performance.now();

/** Milliseconds since 1970 on a clock that never goes back. */
export function clock(): number {
  return startedAt + performance.now();
}
