import { randomUUID } from 'node:crypto';
import { toServiceError } from '../errors/catalogue.js';
import { ServiceError } from '../errors/service-error.js';
import { inLane, setLane } from '../fairness/lane.js';
import type { Caller } from '../identity/caller.js';
import type { Durability } from '../messages/durability.js';
import type { Frame, StompVersion } from './codec/frame.js';
import { commandNamed } from './commands/commands.js';
import type { Connection, ConnectionListener } from './connections/connection.js';
import { errorFrame } from './error-frame.js';
import { FramePump } from './frame-pump.js';
import type { HeartBeatTerms } from './heart-beats.js';
import { HeldDeliveries } from './held-deliveries.js';
import { Intake } from './intake.js';
import { durabilityHeaders } from './message-headers.js';
import { Outbox } from './outbox.js';
import { Pace } from './pace.js';
import { COMMAND_PERMISSIONS, type ClientCommand } from './permissions.js';
import { QueueNames } from './queue-names.js';
import { SendLane } from './send-lane.js';
import type { SessionServices } from './session-services.js';
import { SessionTimers } from './session-timers.js';
import { SettlementLane } from './settlement-lane.js';
import type { Subscription } from './subscription.js';
import { Transactions } from './transactions.js';

/** The longest content that any queue takes; queues themselves may take less. */
const MAX_BODY_BYTES = 512_000;
/** How long what was read may take to be carried out when somebody disconnects the client. */
const DISCONNECT_MS = 2000;

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
  readonly subscriptions = new Map<string, Subscription>();
  readonly deliveries = new HeldDeliveries();
  readonly outbox: Outbox;
  readonly queues: QueueNames;
  readonly pace: Pace;
  readonly sends: SendLane;
  readonly settlements: SettlementLane;
  readonly transactions = new Transactions((error) => this.fail(error, null));
  readonly intake: Intake;
  private readonly pump: FramePump;
  private readonly timers: SessionTimers;
  private state: 'connecting' | 'open' | 'closing' = 'connecting';
  private who: Caller | null = null;
  private since: Date | null = null;
  private authenticate: (() => Promise<Caller>) | null = null;
  private isDraining = false;
  private ending: Promise<void> | null = null;

  constructor(
    readonly connection: Connection,
    readonly services: SessionServices,
    private readonly watcher: SessionWatcher,
  ) {
    this.intake = new Intake(services.memory, services.figures, () => connection.destroy());
    this.outbox = new Outbox(connection, services.figures);
    this.pace = new Pace(
      {
        maxBytesPerSecond: services.configuration.stompMaxBytesPerSecond,
        admit: () => {
          if (this.who !== null) services.rates.admit(this.who.tenancyId);
        },
      },
      () => this.drained(),
    );
    this.outbox.wrote = (bytes): void => this.pace.onSent(bytes);
    this.queues = new QueueNames(services.directory, services.configuration.stompStrict);
    this.sends = new SendLane(services, () => this.settlements.start());
    this.settlements = new SettlementLane(services, () => this.sends.stored);
    this.pump = new FramePump(connection, this.intake, {
      mayGoOn: () => this.isOpen && !this.isDraining,
      handle: (frame) => this.handleInPace(frame),
      waitingBytes: () => this.sends.bytes + this.transactions.bytes,
      rested: () => {
        this.sends.start();
        this.settlements.start();
      },
      resumed: () => {
        this.timers.heard();
        if (!this.isDraining) connection.resume();
      },
      failed: (error, frame) => this.fail(error, frame),
    });
    const { stompLoginMs, stompIdleMs } = services.configuration;
    this.timers = new SessionTimers(stompLoginMs, stompIdleMs, {
      end: (error) => this.fail(error, null),
      sendHeartBeat: () => this.outbox.heartBeat(),
      lost: () => {
        services.figures.lost += 1;
      },
      isListening: () => !this.pump.isPaused,
      mayBeSilent: () => this.subscriptions.size > 0,
    });
    connection.listen(this);
  }

  get isOpen(): boolean {
    return this.state !== 'closing';
  }

  /** Null: not known yet. */
  get user(): Caller | null {
    return this.who;
  }

  /** Since when the client is known, by the clock of this pod. */
  get connectedAt(): Date | null {
    return this.since;
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
    this.since = new Date();
    this.outbox.version = version;
    this.intake.reader.version = version;
    this.intake.admit(Math.max(MAX_BODY_BYTES, configuration.maxMessageBytes));
    this.timers.connected(terms);
    this.outbox.wrote = (bytes): void => {
      this.pace.onSent(bytes);
      this.timers.sent();
    };
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
    this.timers.heard();
    this.intake.push(chunk);
    this.pace.onReceived(chunk.length);
    this.pump.start();
  }

  drained(): void {
    for (const subscription of this.subscriptions.values()) subscription.wake();
  }

  closed(): void {
    void this.end();
  }

  /** The frame was carried out: answers its receipt, where it asks for one. `durability` is of the queues that it has changed. */
  confirm(frame: Frame, durability: Durability = 'FULL'): void {
    const receipt = frame.headers.get('receipt');
    if (receipt === undefined || !this.isOpen) return;
    const { stompStrict } = this.services.configuration;
    this.outbox.write('RECEIPT', [['receipt-id', receipt], ...durabilityHeaders(durability, stompStrict)]);
  }

  /** Tells the client what is wrong, by an ERROR frame with `more` headers, and closes. */
  fail(error: unknown, frame: Frame | null, more: readonly (readonly [string, string])[] = []): void {
    if (!this.isOpen) return;
    const { headers, body } = errorFrame(this, error, frame, more);
    this.outbox.write('ERROR', headers, body);
    this.close();
  }

  /** Sends what was written and ends. */
  close(): void {
    this.state = 'closing';
    this.connection.close();
    void this.end();
  }

  /** Somebody ends it, and tells the client why. As `drain`, but with an end to its patience. */
  async disconnect(reason: ServiceError): Promise<void> {
    const timer = setTimeout(() => this.fail(reason, null), DISCONNECT_MS).unref();
    await this.drain(reason);
    clearTimeout(timer);
  }

  /** Carries out what was read, gives back what the client holds, and tells it why it ends. */
  async drain(reason: ServiceError): Promise<void> {
    if (this.isOpen) {
      this.isDraining = true;
      this.connection.pause();
      const ended = this.endSubscriptions();
      await this.pump.idle();
      await ended;
      // Of what was read meanwhile.
      await this.endSubscriptions();
      this.fail(reason, null);
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

  private handleInPace(frame: Frame): Promise<void> | undefined {
    const turn = this.pace.nextFrame();
    if (turn === undefined) return this.handle(frame) ?? this.sends.room();
    return turn.then(() => (this.isOpen ? this.handle(frame) : undefined)).then(() => this.sends.room());
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

  /** Once, whoever ends it. Resolves when nothing is left of it. */
  private end(): Promise<void> {
    this.state = 'closing';
    this.ending ??= this.finish();
    return this.ending;
  }

  private async finish(): Promise<void> {
    this.timers.stop();
    this.pace.stop();
    this.outbox.wrote = (): void => undefined;
    this.transactions.end();
    await this.endSubscriptions();
    this.intake.end();
    this.outbox.end();
    this.watcher.ended(this);
  }
}
