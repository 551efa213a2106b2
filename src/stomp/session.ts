import { randomUUID } from 'node:crypto';
import { toServiceError } from '../errors/catalogue.js';
import { ServiceError } from '../errors/service-error.js';
import { inLane, setLane } from '../fairness/lane.js';
import type { Caller } from '../identity/caller.js';
import { newRequestId } from '../rest/request-id.js';
import { FrameError } from './codec/frame-error.js';
import type { Frame, StompVersion } from './codec/frame.js';
import { commandNamed } from './commands/commands.js';
import type { Connection, ConnectionListener } from './connections/connection.js';
import { HeartBeats, type HeartBeatTerms } from './heart-beats.js';
import { HeldDeliveries } from './held-deliveries.js';
import { Intake } from './intake.js';
import { Outbox } from './outbox.js';
import { COMMAND_PERMISSIONS, type ClientCommand } from './permissions.js';
import { QueueNames } from './queue-names.js';
import { SendLane } from './send-lane.js';
import type { SessionServices } from './session-services.js';
import { SettlementLane } from './settlement-lane.js';
import type { Subscription } from './subscription.js';
import { Transactions } from './transactions.js';

/** The longest content that any queue takes; queues themselves may take less. */
const MAX_BODY_BYTES = 512_000;

/** What the gateway keeps of sessions. */
export interface SessionWatcher {
  /** Throws LimitExceeded where the user has too many connections. */
  admit(session: Session): void;
  ended(session: Session): void;
}

/**
 * One connection of a client. Its states: connecting (only CONNECT is taken), open, closing (nothing is read or delivered
 * any more; what was read is still carried out).
 *
 * Frames are handled in their order. SENDs, ACKs and NACKs go into lanes and the next frame is read at once; every other
 * command is finished before the next frame is read.
 */
export class Session implements ConnectionListener {
  readonly id = randomUUID();
  readonly startedAt = new Date();
  readonly subscriptions = new Map<string, Subscription>();
  readonly deliveries = new HeldDeliveries();
  readonly outbox: Outbox;
  readonly queues: QueueNames;
  readonly sends: SendLane;
  readonly settlements: SettlementLane;
  readonly transactions = new Transactions((error) => this.fail(error, null));
  private readonly intake: Intake;
  private state: 'connecting' | 'open' | 'closing' = 'connecting';
  private who: Caller | null = null;
  private authenticate: (() => Promise<Caller>) | null = null;
  private heartBeats: HeartBeats | null = null;
  /** For CONNECT, then for idleness; null where heart-beats do that. */
  private timer: NodeJS.Timeout | null;
  private isPaused = false;
  private isDraining = false;
  private isPumping = false;
  private pumped: Promise<void> = Promise.resolve();
  private ending: Promise<void> | null = null;

  constructor(
    readonly connection: Connection,
    readonly services: SessionServices,
    private readonly watcher: SessionWatcher,
  ) {
    this.intake = new Intake(services.memory, () => connection.destroy());
    this.outbox = new Outbox(connection, services.figures);
    this.queues = new QueueNames(services.directory, services.configuration.stompStrict);
    this.sends = new SendLane(services, () => this.settlements.start());
    this.settlements = new SettlementLane(services, () => this.sends.stored);
    const { stompLoginMs } = services.configuration;
    this.timer = setTimeout(() => {
      const message = `no CONNECT frame came within ${stompLoginMs / 1000} seconds: send it first`;
      this.fail(new ServiceError('RequestTimeout', message), null);
    }, stompLoginMs).unref();
    connection.listen(this);
  }

  get isOpen(): boolean {
    return this.state !== 'closing';
  }

  /** Null: not known yet. */
  get user(): Caller | null {
    return this.who;
  }

  get version(): StompVersion {
    return this.outbox.version;
  }

  /** Who calls with this command, with the permission that it needs. */
  callerOf(command: ClientCommand): Caller {
    if (this.who === null) throw new Error('a command was taken from a stranger');
    const permission = COMMAND_PERMISSIONS[command];
    return permission === null ? this.who : { ...this.who, permission };
  }

  /** The client is known from now on, by `authenticate`, which may be asked again. Throws LimitExceeded, TooManyRequests. */
  connected(caller: Caller, version: StompVersion, terms: HeartBeatTerms, authenticate: () => Promise<Caller>): void {
    this.who = caller;
    this.authenticate = authenticate;
    setLane(caller.userId);
    this.watcher.admit(this);
    const { configuration } = this.services;
    this.state = 'open';
    this.outbox.version = version;
    this.intake.reader.version = version;
    this.intake.admit(Math.max(MAX_BODY_BYTES, configuration.maxMessageBytes));
    clearTimeout(this.timer ?? undefined);
    this.timer =
      terms.receiveEveryMs === 0 ? setTimeout(() => this.becameIdle(), configuration.stompIdleMs).unref() : null;
    const beats = new HeartBeats(terms, { send: () => this.outbox.heartBeat(), lost: () => this.missedHeartBeats() });
    this.heartBeats = beats;
    this.outbox.wrote = (): void => beats.sent();
  }

  /** Ends it where its credentials are good no more. While nobody can say it goes on, and is asked again by whoever calls. */
  async checkCredentials(): Promise<void> {
    try {
      await this.authenticate?.();
    } catch (error) {
      const { code } = toServiceError(error);
      if (code === 'NotAuthenticated') this.fail(error, null);
    }
  }

  received(chunk: Buffer): void {
    if (!this.isOpen) return;
    inLane(() => this.take(chunk));
  }

  /** Whatever follows from what was read is done for this user. */
  private take(chunk: Buffer): void {
    if (this.who !== null) setLane(this.who.userId);
    this.heard();
    this.intake.push(chunk);
    if (!this.isPumping) this.pumped = this.pump();
  }

  drained(): void {
    for (const subscription of this.subscriptions.values()) subscription.wake();
  }

  closed(): void {
    void this.end();
  }

  /** The frame was carried out: answers its receipt, where it asks for one. */
  confirm(frame: Frame): void {
    const receipt = frame.headers.get('receipt');
    if (receipt !== undefined && this.isOpen) this.outbox.write('RECEIPT', [['receipt-id', receipt]]);
  }

  /** Tells the client what is wrong, by an ERROR frame with `more` headers, and closes. */
  fail(error: unknown, frame: Frame | null, more: readonly (readonly [string, string])[] = []): void {
    if (!this.isOpen) return;
    const refusal = error instanceof FrameError ? refusalOf(error) : toServiceError(error);
    const receipt = error instanceof FrameError ? error.receipt : (frame?.headers.get('receipt') ?? null);
    const requestId = newRequestId();
    const { code, message, retryAfterSeconds } = refusal;
    this.tellLog(refusal, requestId, frame);
    this.services.figures.count(this.services.figures.errors, code);
    const headers: (readonly [string, string])[] = [['message', message]];
    if (receipt !== null) headers.push(['receipt-id', receipt]);
    headers.push(['code', code], ['opc-request-id', requestId]);
    if (retryAfterSeconds !== null) headers.push(['retry-after', String(retryAfterSeconds)]);
    headers.push(...more, ['content-type', 'text/plain']);
    this.outbox.write('ERROR', headers, Buffer.from(message));
    this.close();
  }

  /** Sends what was written and ends. */
  close(): void {
    this.state = 'closing';
    this.connection.close();
    void this.end();
  }

  /** The pod stops: carries out what was read, gives back what the client holds, and sends it to another pod. */
  async drain(): Promise<void> {
    if (this.isOpen) {
      this.isDraining = true;
      this.connection.pause();
      const ended = this.endSubscriptions();
      await this.pumped;
      await ended;
      // Of what was read meanwhile.
      await this.endSubscriptions();
      this.fail(
        new ServiceError('ServiceUnavailable', 'shutting down: connect again, which leads to another pod'),
        null,
      );
    }
    await this.end();
  }

  /** Resolves once all SENDs, ACKs and NACKs that were read are carried out, or one has failed. */
  async settle(): Promise<void> {
    await this.sends.idle();
    await this.settlements.idle();
  }

  /** Nothing more is delivered; what was read is carried out; what the client holds then goes to others. */
  async endSubscriptions(subscriptions = [...this.subscriptions.values()]): Promise<void> {
    await Promise.all(subscriptions.map((subscription) => subscription.end()));
    await this.settle();
    await Promise.all(
      subscriptions.map(async (subscription) => {
        this.subscriptions.delete(subscription.options.id);
        this.deliveries.forgetAll(subscription);
        await subscription.release().catch((error: unknown) => {
          this.services.logger.warn({ err: error }, 'messages could not be given back: their timeout runs');
        });
      }),
    );
  }

  /** Handles the frames that have come whole, in their order. */
  private async pump(): Promise<void> {
    let frame: Frame | null = null;
    this.isPumping = true;
    try {
      while (this.isOpen && !this.isDraining) {
        const read = this.intake.reader.read();
        frame = typeof read === 'object' ? read : null;
        const waits =
          frame !== null
            ? (this.handle(frame) ?? this.sends.room())
            : read === undefined
              ? this.intake.account(this.sends.bytes + this.transactions.bytes)
              : undefined;
        if (waits !== undefined) await this.whilePaused(waits);
        else if (read === undefined) break;
      }
    } catch (error) {
      this.fail(error, frame);
    }
    this.isPumping = false;
    this.startLanes();
  }

  private handle(frame: Frame): Promise<void> | undefined {
    const { figures } = this.services;
    const command = commandNamed(frame.command);
    figures.count(figures.received, command === null ? 'unknown' : frame.command);
    if (command === null) {
      throw new ServiceError('CannotParseRequest', `there is no command ${frame.command} in STOMP`);
    }
    const isConnect = frame.command === 'CONNECT' || frame.command === 'STOMP';
    if (isConnect !== (this.state === 'connecting')) {
      throw new ServiceError(
        'CannotParseRequest',
        isConnect ? 'this connection is connected already: send CONNECT once' : 'send CONNECT first',
      );
    }
    return command(this, frame) ?? undefined;
  }

  /** Reads nothing of the connection until `what` has happened, so that nothing piles up. */
  private async whilePaused(what: Promise<void>): Promise<void> {
    this.startLanes();
    this.isPaused = true;
    this.connection.pause();
    try {
      await what;
    } finally {
      this.isPaused = false;
      this.heard();
      if (!this.isDraining) this.connection.resume();
    }
  }

  private startLanes(): void {
    this.sends.start();
    this.settlements.start();
  }

  /** Once, whoever ends it. Resolves when nothing is left of it. */
  private end(): Promise<void> {
    this.state = 'closing';
    this.ending ??= this.finish();
    return this.ending;
  }

  private async finish(): Promise<void> {
    clearTimeout(this.timer ?? undefined);
    this.heartBeats?.stop();
    this.outbox.wrote = (): void => undefined;
    this.transactions.end();
    await this.endSubscriptions();
    this.intake.end();
    this.outbox.end();
    this.watcher.ended(this);
  }

  private heard(): void {
    this.heartBeats?.received();
    // That of CONNECT runs whatever comes.
    if (this.state === 'open') this.timer?.refresh();
  }

  private missedHeartBeats(): void {
    // What is not read cannot be missed.
    if (this.isPaused) {
      this.heard();
      return;
    }
    this.services.figures.lost += 1;
    this.fail(new ServiceError('RequestTimeout', 'no heart-beat came for twice the time that was agreed on'), null);
  }

  private becameIdle(): void {
    if (this.subscriptions.size > 0 || this.isPaused) {
      this.timer?.refresh();
      return;
    }
    const seconds = this.services.configuration.stompIdleMs / 1000;
    const message = `nothing came for ${seconds} seconds: ask for heart-beats to keep a connection that is not used`;
    this.fail(new ServiceError('RequestTimeout', message), null);
  }

  /** One line per refusal, as REST has one per request. Never a body, never a header. */
  private tellLog(refusal: ServiceError, requestId: string, frame: Frame | null): void {
    const level = refusal.status < 500 ? 'debug' : refusal.status === 500 ? 'error' : 'warn';
    this.services.logger[level](
      {
        reqId: requestId,
        client: this.connection.peerAddress,
        session: this.id,
        command: frame?.command,
        code: refusal.code,
        ...(refusal.status < 500 ? {} : { err: refusal.cause ?? refusal }),
      },
      'a STOMP connection ends with an error',
    );
  }
}

function refusalOf({ code, message }: FrameError): ServiceError {
  return new ServiceError(code === 'TooLarge' ? 'PayloadTooLarge' : 'CannotParseRequest', message);
}
