import type { Frame } from '../../../src/stomp/codec/frame.js';
import { clock, type Outcome } from '../history.js';
import type { MessageToSend } from '../recorded-queue.js';
import type { CuttingProxy } from './cutting-proxy.js';
import { releaseAfter } from './release.js';
import { RecordedSubscription, type HeldMessage, type SettleCall, type SubscribeOptions } from './subscription.js';
import { outagesWithin, queueOf, type StompPod, type StompTarget } from './target.js';
import { Wire, type Headers } from './wire.js';

/** Codes of an ERROR that leave open whether the frame was carried out (docs/stomp.md). */
const UNKNOWN = ['ServiceUnavailable', 'InternalServerError'];

/** How long after an outage a client may be told of it. */
const OUTAGE_ENDS_MS = 35_000;

interface Pending {
  readonly calledAt: number;
  readonly answered: (call: SettleCall) => void;
}

export interface SessionOptions {
  readonly version: '1.0' | '1.1' | '1.2';
  readonly heartBeats: boolean;
}

/** Receipts of one process are never the same. */
let sessions = 0;

/** A STOMP connection through a proxy of its own. What is asked, answered and delivered on it is written down. */
export class RecordedSession {
  readonly number = (sessions += 1);
  readonly ended: Promise<void>;
  isOver = false;
  private wire: Wire | null = null;
  private readonly subscriptions = new Map<string, RecordedSubscription>();
  private readonly pending = new Map<string, Pending>();
  private readonly connected = Promise.withResolvers<void>();
  private readonly over = Promise.withResolvers<void>();
  private asked = 0;
  private subscribed = 0;
  private readonly openedAt = clock();
  private error: string | null = null;
  private isSilent = false;
  /** When the pod was last asked something that it has answered, and when it last claimed something that has come. */
  private answeredAsk = 0;
  private lastClaim = 0;
  /** When ACKs and NACKs were said that were not answered, or want no answer. */
  private readonly unanswered = new Set<{ readonly calledAt: number }>();
  /** Since when the client wants something to end. */
  private endingSince = Infinity;

  private constructor(
    private readonly target: StompTarget,
    readonly proxy: CuttingProxy,
    private readonly pod: StompPod,
    private readonly options: SessionOptions,
  ) {
    this.ended = this.over.promise;
  }

  /** Null: the pod is not there, or went away. */
  static async open(
    target: StompTarget,
    proxy: CuttingProxy,
    pod: StompPod,
    options: SessionOptions,
  ): Promise<RecordedSession | null> {
    const session = new RecordedSession(target, proxy, pod, options);
    const wire = await Wire.open(proxy.port, {
      frame: (frame) => session.take(frame),
      closed: () => session.end(),
    });
    session.wire = wire;
    const ms = options.heartBeats ? target.heartBeatMs : 0;
    const { login, passcode } = target;
    const headers = { 'accept-version': options.version, host: '/', login, passcode, 'heart-beat': `${ms},0` };
    const askedAt = wire.write('CONNECT', headers);
    await Promise.race([session.connected.promise, session.ended]);
    if (session.isOver) return null;
    session.answeredAsk = Math.max(session.answeredAsk, askedAt);
    if (ms > 0) wire.beat(ms / 3);
    target.counts.sessions += 1;
    return session;
  }

  /** Sends a frame and resolves when its receipt has come, or cannot come any more. */
  ask(command: string, headers: Headers = {}, body?: string): Promise<SettleCall> {
    const { promise, resolve } = Promise.withResolvers<SettleCall>();
    this.asked += 1;
    const receipt = `r${this.asked}`;
    const calledAt = clock();
    // Never written, so it has no effect.
    if (this.isOver) return Promise.resolve({ calledAt, answeredAt: calledAt, outcome: 'refused' });
    this.pending.set(receipt, { calledAt, answered: resolve });
    this.wire?.write(command, { ...headers, receipt }, body);
    return promise;
  }

  /** As `ask`, without a receipt: nobody ever knows what became of it. */
  async tell(command: string, headers: Headers = {}, body?: string): Promise<SettleCall> {
    const calledAt = clock();
    if (this.isOver) return { calledAt, answeredAt: calledAt, outcome: 'refused' };
    this.wire?.write(command, headers, body);
    await this.ended;
    return { calledAt, answeredAt: clock(), outcome: 'unknown' };
  }

  /** Frames of a transaction, which have no effect by themselves. */
  write(command: string, headers: Headers, body?: string): void {
    this.wire?.write(command, headers, body);
  }

  bytesOf(command: string, headers: Headers, body?: string): number {
    return this.wire?.encode(command, headers, body).length ?? 0;
  }

  async send(queue: string, message: MessageToSend, wantsReceipt = true): Promise<Outcome> {
    const headers = this.sendHeaders(queue, message);
    const call = await (wantsReceipt
      ? this.ask('SEND', headers, message.key)
      : this.tell('SEND', headers, message.key));
    this.recordPut(queue, [message], call);
    return call.outcome;
  }

  sendHeaders(queue: string, { channelId, delayInSeconds }: MessageToSend): Headers {
    const { id } = queueOf(this.target, queue);
    return {
      destination: channelId === '' ? id : `${id}/${channelId}`,
      ...(delayInSeconds === 0 ? {} : { 'delay-in-seconds': String(delayInSeconds) }),
    };
  }

  recordPut(queue: string, messages: readonly MessageToSend[], call: SettleCall): void {
    const sent = messages.map((message) => {
      const sizeInBytes = Buffer.byteLength(message.key);
      return { ...message, properties: {}, sizeInBytes, id: null };
    });
    queueOf(this.target, queue).operations.push({ ...call, kind: 'put', messages: sent });
  }

  subscribe(options: SubscribeOptions): RecordedSubscription {
    this.subscribed += 1;
    const id = `s${this.subscribed}`;
    const queue = queueOf(this.target, options.queue);
    const subscription = new RecordedSubscription(id, options, this.number, queue, this.target);
    this.subscriptions.set(id, subscription);
    const channel = options.channelId === null ? '' : `/${options.channelId}`;
    this.write('SUBSCRIBE', {
      id,
      destination: `${queue.id}${channel}${options.deadLetter ? '/dlq' : ''}`,
      ack: options.ack,
      'prefetch-count': String(options.prefetch),
      'visibility-in-seconds': String(options.visibilityInSeconds),
      'release-on-disconnect': String(options.releases),
      ...(options.keepsLease ? { lease: 'keep' } : {}),
      ...(options.ignoresStale ? { 'stale-ack': 'ignore' } : {}),
    });
    return subscription;
  }

  /** ACK, or NACK where there is a delay. */
  async settle(held: HeldMessage, delay: number | null = null, wantsReceipt = true): Promise<Outcome> {
    const { subscription } = held;
    const covered = subscription.coveredBy(held);
    for (const each of covered) each.state = 'settling';
    const headers = {
      ...this.ackHeaders(held),
      ...(delay === null ? {} : { 'delay-in-seconds': String(delay) }),
    };
    const command = delay === null ? 'ACK' : 'NACK';
    const said = { calledAt: clock() };
    this.unanswered.add(said);
    const call = await (wantsReceipt ? this.ask(command, headers) : this.tell(command, headers));
    if (call.outcome !== 'unknown') this.unanswered.delete(said);
    subscription.settled(covered, held, delay, call);
    return call.outcome;
  }

  ackHeaders({ ackId, subscription }: HeldMessage): Headers {
    return { [this.options.version === '1.2' ? 'id' : 'message-id']: ackId, subscription: subscription.id };
  }

  async unsubscribe(subscription: RecordedSubscription): Promise<Outcome> {
    // Where that is not confirmed, it ends with the connection, or before.
    this.endingSince = clock();
    subscription.endingSince = this.endingSince;
    const { calledAt, answeredAt, outcome } = await this.ask('UNSUBSCRIBE', { id: subscription.id });
    if (outcome === 'done' && this.subscriptions.delete(subscription.id)) {
      this.endingSince = Infinity;
      subscription.ended({ releasedAfter: calledAt, at: answeredAt, isConfirmed: true, sawAll: true });
    }
    return outcome;
  }

  async disconnect(): Promise<void> {
    const subscriptions = [...this.subscriptions.values()];
    this.endingSince = clock();
    const { calledAt, answeredAt, outcome } = await this.ask('DISCONNECT');
    for (const subscription of outcome === 'done' ? subscriptions : []) {
      this.subscriptions.delete(subscription.id);
      subscription.ended({ releasedAfter: calledAt, at: answeredAt, isConfirmed: true, sawAll: true });
    }
    this.wire?.destroy();
    await this.ended;
  }

  /** Neither reads nor writes any more. */
  stall(): void {
    this.isSilent = true;
    this.wire?.stall();
  }

  wake(): void {
    this.wire?.wake();
  }

  /** Both sides think that the other is there, and nothing comes through. */
  freeze(): void {
    this.isSilent = true;
    this.proxy.freeze();
  }

  private take({ command, headers, body }: Frame): void {
    if (command === 'CONNECTED') this.connected.resolve();
    else if (command === 'RECEIPT') this.answer(headers.get('receipt-id') ?? '', 'done');
    else if (command === 'ERROR') this.takeError(headers);
    else if (command === 'MESSAGE') {
      const subscription = this.subscriptions.get(headers.get('subscription') ?? '');
      if (subscription === undefined) this.target.surprises.push('a message came for no subscription');
      else this.lastClaim = Math.max(this.lastClaim, subscription.take(headers, body.toString()).claimedAt);
    } else this.target.surprises.push(`a frame ${command} came`);
  }

  private takeError(headers: ReadonlyMap<string, string>): void {
    const code = headers.get('code') ?? '';
    const message = headers.get('message') ?? '';
    this.error = code;
    const isExpected =
      code === 'NotAuthorizedOrNotFound'
        ? /not hold|not held/.test(message)
        : code === 'RequestTimeout' || (code === 'ServiceUnavailable' && this.mayBeUnavailable(message));
    if (!isExpected) this.target.surprises.push(`${code}: ${message}`);
    if (code === 'RequestTimeout') this.target.counts.silent += 1;
    if (code === 'ServiceUnavailable') this.target.counts.drained += 1;
    const receipt = headers.get('receipt-id');
    if (receipt !== undefined) this.answer(receipt, UNKNOWN.includes(code) ? 'unknown' : 'refused');
  }

  private mayBeUnavailable(message: string): boolean {
    if (message.startsWith('shutting down')) return true;
    return outagesWithin(this.target, this.openedAt - OUTAGE_ENDS_MS, clock()).length > 0;
  }

  private answer(receipt: string, outcome: Outcome): void {
    const pending = this.pending.get(receipt);
    if (!this.pending.delete(receipt) || pending === undefined) {
      this.target.surprises.push(`the receipt ${receipt} came, and nobody has asked for it`);
      return;
    }
    const { calledAt, answered } = pending;
    this.answeredAsk = Math.max(this.answeredAsk, calledAt);
    answered({ calledAt, answeredAt: clock(), outcome });
  }

  private end(): void {
    const at = clock();
    this.isOver = true;
    const releasedAfter = releaseAfter(this.target, this.pod, {
      cutAt: this.proxy.cutAt,
      endingSince: this.endingSince,
      isSilent: this.isSilent,
      error: this.error,
      answeredAsk: this.answeredAsk,
      lastClaim: this.lastClaim,
      unansweredSince: Math.min(...[...this.unanswered].map(({ calledAt: since }) => since)),
      isUnsubscribed: this.subscriptions.size === 0,
    });
    for (const { calledAt, answered } of this.pending.values())
      answered({ calledAt, answeredAt: at, outcome: 'unknown' });
    this.pending.clear();
    // What waits for those answers writes them down first.
    setImmediate(() => {
      for (const subscription of this.subscriptions.values()) {
        subscription.ended({ releasedAfter, at, isConfirmed: false, sawAll: this.error !== null });
      }
      this.over.resolve();
    });
  }
}
