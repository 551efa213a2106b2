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
  /** The primary group first; a queue without consumer groups has only that. */
  readonly groups: readonly GroupRules[];
  /** By how much the client's clock and the database's may differ. They are one machine's, but read differently. */
  readonly clockToleranceMs: number;
  /** For how long after its client gave up an operation may still take effect. */
  readonly lingerMs: number;
}

export interface GroupRules {
  /** What the test calls it; '' is the primary group. */
  readonly name: string;
  /** The limit in force in the group: its own, else the queue's; 0: it has no dead letter queue. */
  readonly deliveryLimit: number;
  /** What the filter of the group means, told by the test and not by the service. */
  readonly takes: (properties: Properties) => boolean;
}

export type Properties = Readonly<Record<string, string>>;

/** Where an operation was asked for: in which group (by name), and whether among its dead letters. */
export interface Side {
  readonly group: string;
  readonly deadLetter: boolean;
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
  readonly properties: Properties;
  readonly delayInSeconds: number;
  /** Of the content and the properties. */
  readonly sizeInBytes: number;
  /** Null where the put was not acknowledged. */
  readonly id: number | null;
}

export interface GetCall extends Call, Side {
  readonly kind: 'get';
  /** Null: any. */
  readonly channelId: string | null;
  readonly limit: number;
  /** Null: the queue's. Gets with 0 begin no window; the checker does not take them. */
  readonly visibilityInSeconds: number | null;
  /** Part of the final drain: what it finds is not lost, even if its deletion is not confirmed. */
  readonly isFinal: boolean;
  /** What it delivers is deleted without a word of the client, also what nobody saw. Absent: it is not. */
  readonly deletes?: boolean;
  readonly messages: readonly ReceivedMessage[];
}

export interface ReceivedMessage {
  readonly key: string;
  readonly id: number;
  readonly channelId: string;
  readonly receipt: string;
  readonly deliveryCount: number;
  readonly visibleAfter: number;
  /** As the service wrote them. */
  readonly createdAt: string;
  readonly expireAfter: string;
}

/** Its side is where it was called; the receipt may be of another one. */
export interface UpdateCall extends Call, Side {
  readonly kind: 'update';
  readonly receipt: string;
  readonly visibilityInSeconds: number;
  /** Null where it was not done, or the answer does not tell it. */
  readonly visibleAfter: number | null;
}

/** As `UpdateCall`. */
export interface DeleteCall extends Call, Side {
  readonly kind: 'delete';
  readonly receipt: string;
}

/**
 * A holder goes away, and what it held is visible to others from some moment on that is not before `calledAt`: if it is done,
 * by `answeredAt`; if it is unknown, at any later one, or not before the timeout. Then the receipts are dead.
 */
export interface ReleaseCall extends Call {
  readonly kind: 'release';
  readonly receipts: readonly string[];
}

/**
 * Puts and deletes in several queues that happen together or not at all. They are in the histories of their queues too, with
 * the times and the outcome of this.
 */
export interface CommitCall extends Call {
  readonly puts: readonly { readonly queue: string; readonly key: string }[];
  readonly deletes: readonly { readonly queue: string; readonly receipt: string }[];
}

/**
 * Dead letters go back to where they came from, with a delivery count of 0: those of the range that had died when it was
 * called and that nobody holds, each at any moment from the call to the end of the work request.
 */
export interface RedriveCall extends Call {
  readonly kind: 'redrive';
  /** Null: all groups. */
  readonly group: string | null;
  /** Null: the queue and all channels. */
  readonly channelIds: readonly string[] | null;
  /** When its work request was seen to have ended; null: never. */
  readonly finishedAt: number | null;
  /** It came to its end: neither cancelled nor failed. */
  readonly isComplete: boolean;
}

/** Statistics of a group, read after everything had stopped and while nothing was in flight or delayed. */
export interface StatsCall extends Call {
  readonly kind: 'stats';
  readonly group: string;
  readonly queue: Figures;
  readonly dlq: Figures;
}

export interface Figures {
  readonly visibleMessages: number;
  readonly inFlightMessages: number;
  readonly sizeInBytes: number;
}

export type Operation = PutCall | GetCall | UpdateCall | DeleteCall | ReleaseCall | RedriveCall | StatsCall;

const startedAt = Date.now() - performance.now();

/** Milliseconds since 1970 on a clock that never goes back. */
export function clock(): number {
  return startedAt + performance.now();
}
