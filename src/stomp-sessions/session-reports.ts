import { hostname } from 'node:os';
import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Notifications } from '../database/notifications.js';
import { StompFunctions } from '../database/stomp-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { LivePods } from '../limits/live-pods.js';
import type { Session } from '../stomp/session.js';
import { StompGateway } from '../stomp/stomp-gateway.js';
import { SessionChunks } from './session-chunks.js';

const REPORT_EVERY_MS = 2000;

/**
 * Tells the database which sessions this pod has, where something has changed, and ends those that somebody has asked to end. A
 * pod without sessions sends nothing.
 *
 * That a session is to end stands in the database, and comes with the answer to every report. The notification
 * `{"t": "stomp-disconnect", "sessionId"}` is only the reason for a report at once. `{"t": "stomp-ended", "sessionId"}` goes out
 * when it has ended.
 */
@Injectable()
export class SessionReports implements OnApplicationShutdown {
  private readonly logger = new Logger(SessionReports.name);
  private readonly chunks = new SessionChunks();
  private readonly ending = new Set<Session>();
  private readonly host = hostname();
  private timer: NodeJS.Timeout | null = null;
  private last: Promise<void> = Promise.resolve();
  private hasFailed = false;
  private isStopped = true;
  private readonly onMessage = (payload: unknown): void => {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, sessionId } = payload as { t?: unknown; sessionId?: unknown };
    if (t !== 'stomp-disconnect' || typeof sessionId !== 'string') return;
    if (this.find(sessionId) !== undefined) void this.now();
  };

  constructor(
    private readonly functions: StompFunctions,
    private readonly gateway: StompGateway,
    private readonly pods: LivePods,
    private readonly notifications: Notifications,
  ) {
    notifications.events.on('message', this.onMessage);
  }

  start(): void {
    this.isStopped = false;
    this.schedule();
  }

  /** Reports as soon as it can, also where nothing has changed. Never fails. */
  now(): Promise<void> {
    return this.next(true);
  }

  /** The sessions have ended: nothing is left of them in the database. */
  async stop(): Promise<void> {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.last;
    const rows = this.chunks.emptied();
    // Where the database is away they go with the pod's heartbeat.
    if (rows.length > 0) await this.functions.report(this.pods.id, this.host, rows).catch(() => undefined);
  }

  onApplicationShutdown(): void {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.notifications.events.off('message', this.onMessage);
  }

  private schedule(): void {
    if (this.isStopped) return;
    this.timer = setTimeout(() => void this.next(false).then(() => this.schedule()), REPORT_EVERY_MS);
    this.timer.unref();
  }

  /** One after the other. */
  private next(isAsked: boolean): Promise<void> {
    this.last = this.last.then(() => this.report(isAsked));
    return this.last;
  }

  private async report(isAsked: boolean): Promise<void> {
    if (this.isStopped) return;
    this.chunks.update(this.gateway.open);
    const due = this.chunks.due(performance.now());
    if (due.length === 0 && !isAsked) return;
    const answer = await this.functions.report(this.pods.id, this.host, due).catch((error: unknown) => {
      // Once, and not every two seconds for as long as the database is away.
      if (!this.hasFailed) this.logger.warn({ err: error }, 'STOMP sessions could not be reported; it is tried again');
      this.hasFailed = true;
      return null;
    });
    // Not counted at the moment: the next heartbeat changes that.
    if (answer === null) {
      this.chunks.failed(due);
      return;
    }
    this.hasFailed = false;
    this.chunks.written(due, answer.chunkNos);
    for (const [id, reason] of Object.entries(answer.disconnects)) this.disconnect(id, reason);
  }

  private disconnect(id: string, reason: string | null): void {
    const session = this.find(id);
    if (session === undefined || this.ending.has(session)) return;
    this.ending.add(session);
    void this.end(session, reason).finally(() => this.ending.delete(session));
  }

  private async end(session: Session, reason: string | null): Promise<void> {
    const why = reason === null ? '' : `: ${reason}`;
    await session.disconnect(
      new ServiceError('ServiceUnavailable', `an operator has ended this connection${why}; what it held is given back`),
    );
    await this.now();
    await this.notifications.send({ t: 'stomp-ended', sessionId: session.id });
  }

  private find(id: string): Session | undefined {
    for (const session of this.gateway.open) if (session.id === id) return session;
    return undefined;
  }
}
