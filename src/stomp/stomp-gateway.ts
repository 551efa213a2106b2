import { EventEmitter } from 'node:events';
import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import type { Server } from 'node:http';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { ServiceError } from '../errors/service-error.js';
import { AuthenticationService } from '../identity/authentication.service.js';
import { Revocations } from '../identity/revocations.js';
import { CallerConnections } from '../limits/caller-connections.js';
import { MemoryBudget } from '../memory/memory-budget.js';
import { DeliveriesService } from '../messages/deliveries.service.js';
import { GetsService } from '../messages/gets.service.js';
import { MessageRanges } from '../messages/message-ranges.js';
import { PutsService } from '../messages/puts.service.js';
import { TransactionsService } from '../messages/transactions.service.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import { Connections } from '../rest/connections.js';
import { SERVER_CERTIFICATE, type ServerCertificate } from '../tls/server-certificate.js';
import type { Connection } from './connections/connection.js';
import { TcpListener } from './listeners/tcp-listener.js';
import { WebSocketListener } from './listeners/websocket-listener.js';
import { Session, type SessionWatcher } from './session.js';
import type { SessionServices } from './session-services.js';
import { StompFigures } from './stomp-figures.js';

/** How long what was read may take to be carried out when the pod stops, before connections are cut. */
const DRAIN_MS = 10_000;
const CHECKED_AT_A_TIME = 100;

/** A session, as those who count connections need to know it. */
class Presence extends EventEmitter {
  destroyed = false;

  end(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

/** The STOMP side of a pod: its listeners and its sessions. */
@Injectable()
export class StompGateway implements SessionWatcher, OnModuleDestroy {
  private readonly sessions = new Set<Session>();
  private readonly byUser = new Map<string, number>();
  /** What counts as connections of their callers. */
  private readonly presences = new Map<Session, Presence>();
  private readonly endListening: () => void;
  private readonly services: SessionServices;
  private readonly tcp: TcpListener;
  private readonly webSocket: WebSocketListener;
  private isDraining = false;

  constructor(
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
    @Inject(SERVER_CERTIFICATE) certificate: ServerCertificate | null,
    connections: Connections,
    authentication: AuthenticationService,
    directory: QueueDirectory,
    ranges: MessageRanges,
    puts: PutsService,
    gets: GetsService,
    deliveries: DeliveriesService,
    transactions: TransactionsService,
    memory: MemoryBudget,
    private readonly figures: StompFigures,
    private readonly callers: CallerConnections,
    revocations: Revocations,
  ) {
    this.endListening = revocations.listen((user) => void this.checkCredentials(user?.userId ?? null));
    const logger = new Logger('Stomp');
    this.services = {
      configuration,
      authentication,
      directory,
      ranges,
      puts,
      gets,
      deliveries,
      transactions,
      memory,
      figures,
      logger,
    };
    const accept = (connection: Connection, refusal: ServiceError | null): void => this.accept(connection, refusal);
    this.tcp = new TcpListener(certificate, configuration.stompMaxConnections, accept, () => {
      this.figures.refused += 1;
    });
    this.webSocket = new WebSocketListener(configuration, connections, accept);
  }

  /** Connections that are open, strangers among them. */
  get open(): ReadonlySet<Session> {
    return this.sessions;
  }

  /** Listens on the STOMP port, and on `http` for WebSockets. Resolves with the port; fails where it is taken. */
  async listen(http: Server): Promise<number> {
    this.webSocket.attach(http);
    const { stompPort, host } = this.configuration;
    return this.tcp.listen(stompPort, host);
  }

  /** The pod stops: no new connections, and each session ends when what it has read is done. */
  async drain(): Promise<void> {
    this.isDraining = true;
    this.tcp.close();
    this.webSocket.close();
    const { promise: tooLate, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, DRAIN_MS);
    await Promise.race([Promise.all([...this.sessions].map((session) => session.drain())), tooLate]);
    clearTimeout(timer);
    // What is left did not read its last frame, or waits for the database.
    for (const session of this.sessions) session.connection.destroy();
  }

  /** Where a start fails after this listens. */
  async onModuleDestroy(): Promise<void> {
    this.endListening();
    await this.drain();
  }

  admit(session: Session): void {
    const { user } = session;
    if (user === null) return;
    const presence = new Presence();
    this.callers.admit(presence, user);
    this.presences.set(session, presence);
    const open = (this.byUser.get(user.userId) ?? 0) + 1;
    const limit = this.configuration.stompMaxConnectionsPerUser;
    this.byUser.set(user.userId, open);
    if (open > limit) {
      this.figures.refused += 1;
      throw new ServiceError(
        'LimitExceeded',
        `this pod has all ${limit} connections of this user open that it takes (TOWPATH_STOMP_MAX_CONNECTIONS_PER_USER): keep fewer open`,
      );
    }
  }

  ended(session: Session): void {
    this.sessions.delete(session);
    this.figures.connections = this.sessions.size;
    this.presences.get(session)?.end();
    if (session.user === null || !this.presences.delete(session)) return;
    const { userId } = session.user;
    const open = (this.byUser.get(userId) ?? 1) - 1;
    if (open === 0) this.byUser.delete(userId);
    else this.byUser.set(userId, open);
  }

  /** Of a user's sessions; null: of all. Some at a time, because each may cost a statement. */
  private async checkCredentials(userId: string | null): Promise<void> {
    const sessions = [...this.sessions].filter(
      ({ user }) => user !== null && (userId === null || user.userId === userId),
    );
    for (let start = 0; start < sessions.length; start += CHECKED_AT_A_TIME) {
      const some = sessions.slice(start, start + CHECKED_AT_A_TIME);
      await Promise.all(some.map((session) => session.checkCredentials()));
    }
  }

  private accept(connection: Connection, refusal: ServiceError | null): void {
    const session = new Session(connection, this.services, this);
    const limit = this.configuration.stompMaxConnections;
    this.sessions.add(session);
    this.figures.connections = this.sessions.size;
    if (refusal !== null) {
      session.fail(refusal, null);
    } else if (this.isDraining) {
      session.fail(
        new ServiceError('ServiceUnavailable', 'shutting down: connect again, which leads to another pod'),
        null,
      );
    } else if (this.sessions.size > limit) {
      this.figures.refused += 1;
      const message = `this pod has all ${limit} STOMP connections open that it takes (TOWPATH_STOMP_MAX_CONNECTIONS): keep fewer open, or try again, which may lead to another pod`;
      session.fail(new ServiceError('ServiceUnavailable', message, { retryAfterSeconds: 1 }), null);
    }
  }
}
