import { clock, type GetCall, type Operation, type ReceivedMessage } from '../history.js';
import { range } from '../random.js';
import type { RecordedQueue } from '../recorded-queue.js';
import { outagesWithin, type StompTarget } from './target.js';

export interface SubscribeOptions {
  /** The name of the queue. */
  readonly queue: string;
  /** Null: any. */
  readonly channelId: string | null;
  readonly deadLetter: boolean;
  readonly ack: 'auto' | 'client' | 'client-individual';
  readonly prefetch: number;
  readonly visibilityInSeconds: number;
  readonly releases: boolean;
  readonly keepsLease: boolean;
  readonly ignoresStale: boolean;
}

/** A MESSAGE that came, and what its client has said of it. */
export interface HeldMessage extends ReceivedMessage {
  readonly subscription: RecordedSubscription;
  readonly ackId: string;
  readonly arrivedAt: number;
  readonly claimedAt: number;
  state: 'held' | 'settling' | 'settled';
}

/** How a subscription ended. */
export interface End {
  /** Before that nothing can have been given back; null: nothing was. */
  readonly releasedAfter: number | null;
  readonly at: number;
  /** The client was answered that it has ended. */
  readonly isConfirmed: boolean;
  /** Everything that was sent to it has come. */
  readonly sawAll: boolean;
}

/** Times of one machine, which differ by how they are read. */
const TOLERANCE_MS = 100;

/** A subscription of a recorded session: writes down what is delivered to it, and what its end does to what it holds. */
export class RecordedSubscription {
  readonly seen: HeldMessage[] = [];
  /** When its client has said UNSUBSCRIBE. */
  endingSince = Infinity;
  private readonly subscribedAt = clock();
  /** NACKs, which bring back what was delivered already. */
  private givenBack = 0;
  private wake: () => void = () => undefined;

  constructor(
    readonly id: string,
    readonly options: SubscribeOptions,
    /** Makes receipts of different connections different: the wire has only names of deliveries. */
    private readonly session: number,
    private readonly queue: RecordedQueue,
    private readonly target: Pick<StompTarget, 'outages'>,
  ) {}

  take(headers: ReadonlyMap<string, string>, body: string): HeldMessage {
    const at = clock();
    const ackId = headers.get('message-id') ?? '';
    const visibleAfter = Date.parse(headers.get('oci-visible-after') ?? '');
    const received: ReceivedMessage = {
      key: body,
      id: Number(headers.get('oci-message-id')),
      channelId: headers.get('oci-channel-id') ?? '',
      receipt: `${this.session}/${ackId}`,
      deliveryCount: Number(headers.get('oci-delivery-count')),
      visibleAfter,
      createdAt: headers.get('oci-created-at') ?? '',
      expireAfter: headers.get('oci-expire-after') ?? '',
    };
    const claimedAt = visibleAfter - this.options.visibilityInSeconds * 1000;
    const held: HeldMessage = { ...received, subscription: this, ackId, arrivedAt: at, claimedAt, state: 'held' };
    this.seen.push(held);
    this.queue.operations.push({ ...this.get(at), outcome: 'done', messages: [received] });
    this.wake();
    return held;
  }

  get held(): HeldMessage[] {
    return this.seen.filter(({ state }) => state === 'held');
  }

  /** Resolves when something comes, or after a while. */
  async next(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.wake = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** What an ACK or NACK of this one is about. */
  coveredBy(named: HeldMessage): HeldMessage[] {
    if (this.options.ack !== 'client') return [named];
    return this.seen.slice(0, this.seen.indexOf(named) + 1).filter(({ state }) => state === 'held');
  }

  /** `delay` null: acknowledged. `outcome` is that of the frame, `named` what it named. */
  settled(covered: readonly HeldMessage[], named: HeldMessage, delay: number | null, call: SettleCall): void {
    // What was said after UNSUBSCRIBE is refused for that: a connection holds nothing for a subscription that it has ended.
    // And what was to be said after the connection has ended was never said.
    const isMoot = call.calledAt >= this.endingSince || call.calledAt === call.answeredAt;
    if (call.outcome === 'refused' && isMoot) return;
    if (delay !== null) this.givenBack += 1;
    for (const held of covered) {
      const outcome = this.outcomeFor(held, held === named, call);
      if (outcome === 'done') held.state = 'settled';
      const common = { ...call, ...this.side, outcome, receipt: held.receipt };
      this.record(
        delay === null
          ? { ...common, kind: 'delete' }
          : { ...common, kind: 'update', visibilityInSeconds: delay, visibleAfter: null },
      );
    }
  }

  /** UNSUBSCRIBE is confirmed, or the connection is over. */
  ended({ releasedAfter, at, isConfirmed, sawAll }: End): void {
    const isAuto = this.options.ack === 'auto';
    for (const held of isAuto ? this.seen : []) {
      // What came before the client asked for the end was sent by then, and was deleted if the receipt was good so long.
      const isSettled = isConfirmed && held.arrivedAt < (releasedAfter ?? 0) && held.visibleAfter > at + TOLERANCE_MS;
      if (isSettled) held.state = 'settled';
      const times = { calledAt: held.claimedAt, answeredAt: at, outcome: isSettled ? 'done' : 'unknown' } as const;
      this.record({ ...times, ...this.side, kind: 'delete', receipt: held.receipt });
    }
    const left = this.seen.filter(({ state }) => state !== 'settled');
    if (releasedAfter !== null && this.options.releases && left.length > 0) {
      const receipts = left.map(({ receipt }) => receipt);
      const times = { calledAt: releasedAfter, answeredAt: at };
      this.record({ ...times, kind: 'release', outcome: isConfirmed ? 'done' : 'unknown', receipts });
    }
    if (!sawAll) this.recordUnseen(this.seen.at(-1)?.claimedAt ?? this.subscribedAt, at);
    // Whatever was claimed for it in an outage, its pod may not have been told.
    for (const { from } of outagesWithin(this.target, this.subscribedAt, at)) {
      this.recordUnseen(Math.max(from, this.subscribedAt), at);
    }
  }

  /** What was on its way to the client when it was cut off: as many messages as it had credit for, again after each timeout. */
  private recordUnseen(since: number, at: number): void {
    const timeouts = Math.ceil(Math.max(0, at - since) / (this.options.visibilityInSeconds * 1000));
    const unanswered = this.seen.filter(({ state }) => state === 'settling').length;
    for (const _ of range(1 + timeouts + (this.givenBack > 0 ? 1 : 0))) {
      this.record({
        ...this.get(at),
        calledAt: since,
        outcome: 'unknown',
        limit: this.options.prefetch + unanswered,
        messages: [],
      });
    }
  }

  private get(at: number): Omit<GetCall, 'outcome' | 'messages'> {
    const { channelId, prefetch, visibilityInSeconds, ack } = this.options;
    return {
      ...this.side,
      kind: 'get',
      calledAt: this.subscribedAt,
      answeredAt: at,
      channelId,
      limit: prefetch,
      visibilityInSeconds,
      isFinal: false,
      deletes: ack === 'auto',
    };
  }

  private get side() {
    return { group: '', deadLetter: this.options.deadLetter };
  }

  /** Only of the message that was named a client is told that it was stale, unless it ignores that. */
  private outcomeFor(held: HeldMessage, isNamed: boolean, { outcome, answeredAt }: SettleCall): SettleCall['outcome'] {
    if (outcome === 'refused') return isNamed ? 'refused' : 'unknown';
    if (outcome === 'unknown') return 'unknown';
    const wasGood = held.visibleAfter > answeredAt + TOLERANCE_MS;
    return wasGood || (isNamed && !this.options.ignoresStale) ? 'done' : 'unknown';
  }

  private record(operation: Operation): void {
    this.queue.operations.push(operation);
  }
}

export type SettleCall = Pick<GetCall, 'calledAt' | 'answeredAt' | 'outcome'>;
