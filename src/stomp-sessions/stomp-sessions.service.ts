import { EventEmitter } from 'node:events';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Notifications } from '../database/notifications.js';
import {
  StompFunctions,
  type StompSession,
  type StompSessionCursor,
  type StompSubscription,
} from '../database/stomp-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { PageTokens } from '../rest/page-token.js';
import type {
  DisconnectStompSessionDetails,
  DisconnectStompSessionResult,
  ListStompSessionsQuery,
  StompSessionBody,
  StompSessionCollection,
  StompSessionSummary,
} from './stomp-session.schemas.js';

const LIST = 'STOMP sessions';
const DEFAULT_LIMIT = 100;
const DEFAULT_TIMEOUT_SECONDS = 5;
/** So often the database is asked where no notification comes. */
const LOOK_EVERY_MS = 1000;
/** Those who wait for the end of a session are listeners. */
const MAX_WAITING = 1000;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Shows the STOMP sessions of the caller's tenancy, on all pods, and ends them. */
@Injectable()
export class StompSessionsService implements OnApplicationShutdown {
  /** An event for each session that some pod says has ended, named by its id. */
  private readonly ended = new EventEmitter().setMaxListeners(MAX_WAITING);
  private readonly onMessage = (payload: unknown): void => {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, sessionId } = payload as { t?: unknown; sessionId?: unknown };
    if (t === 'stomp-ended' && typeof sessionId === 'string' && UUID.test(sessionId)) this.ended.emit(sessionId);
  };

  constructor(
    private readonly functions: StompFunctions,
    private readonly notifications: Notifications,
    private readonly pages: PageTokens,
  ) {
    notifications.events.on('message', this.onMessage);
  }

  /** Newest first. Throws InvalidParameter (a page of another list). */
  async list(
    { tenancyId }: Caller,
    query: ListStompSessionsQuery,
  ): Promise<{ body: StompSessionCollection; nextPage: string | null }> {
    const position = this.pages.decode(LIST, query.page);
    const before: StompSessionCursor | null =
      position === null ? null : { time: String(position[0]), id: String(position[1]) };
    const limit = query.limit ?? DEFAULT_LIMIT;
    const found = await this.functions.list(tenancyId, query, before, limit + 1);
    const items = found.slice(0, limit);
    const last = items.at(-1)?.cursor;
    return {
      body: { items: items.map(toSummary) },
      nextPage: found.length > limit && last !== undefined ? this.pages.encode(LIST, [last.time, last.id]) : null,
    };
  }

  /** With its subscriptions. Throws NotAuthorizedOrNotFound. */
  async get({ tenancyId }: Caller, id: string): Promise<StompSessionBody> {
    const session = await this.functions.find(tenancyId, checked(id));
    const subscriptions = await this.functions.subscriptions(tenancyId, id);
    return { ...toSummary(session), subscriptions: subscriptions.map(toSubscription) };
  }

  /**
   * Has the pod that has it end a session, and waits for that. Throws NotAuthorizedOrNotFound. It ends also where nobody
   * waits any more.
   */
  async disconnect(
    caller: Caller,
    id: string,
    { reason, timeoutInSeconds = DEFAULT_TIMEOUT_SECONDS }: DisconnectStompSessionDetails,
  ): Promise<DisconnectStompSessionResult> {
    checked(id);
    const deadline = performance.now() + timeoutInSeconds * 1000;
    let heard = Promise.withResolvers<void>();
    const onEnded = (): void => heard.resolve();
    // Before it is asked for, so that its end is not missed.
    this.ended.on(id, onEnded);
    try {
      await this.functions.disconnect(caller, id, reason ?? null);
      for (;;) {
        heard = Promise.withResolvers();
        if (!(await this.functions.isOpen(id))) return { hasEnded: true };
        const left = deadline - performance.now();
        if (left <= 0) return { hasEnded: false };
        const timer = setTimeout(heard.resolve, Math.min(left, LOOK_EVERY_MS));
        await heard.promise;
        clearTimeout(timer);
      }
    } finally {
      this.ended.off(id, onEnded);
    }
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
  }
}

/** What is no id of a session is not looked for, and not shown to PostgreSQL. */
function checked(id: string): string {
  if (UUID.test(id)) return id;
  throw new ServiceError(
    'NotAuthorizedOrNotFound',
    'there is no such STOMP session, or you may not see it: its id is a UUID',
  );
}

function toSummary(session: StompSession): StompSessionSummary {
  const { timeConnected, timeLastHeard, timeLastSent, timeReported } = session;
  return {
    id: session.id,
    podId: session.podId,
    userId: session.userId,
    userName: session.userName,
    peerAddress: session.peerAddress,
    transport: session.transport as StompSessionSummary['transport'],
    version: session.version as StompSessionSummary['version'],
    timeConnected: timeConnected.toISOString(),
    timeLastHeard: timeLastHeard.toISOString(),
    ...(timeLastSent === null ? {} : { timeLastSent: timeLastSent.toISOString() }),
    timeReported: timeReported.toISOString(),
    subscriptionCount: session.subscriptionCount,
    unacknowledgedMessages: session.unacknowledgedMessages,
    openTransactions: session.openTransactions,
    bytesReceived: session.bytesReceived,
    bytesSent: session.bytesSent,
  };
}

function toSubscription(subscription: StompSubscription): StompSessionBody['subscriptions'][number] {
  const { queueId, consumerGroupId, channelId, visibilityInSeconds, ack, ...rest } = subscription;
  return {
    ...rest,
    ack: ack as StompSessionBody['subscriptions'][number]['ack'],
    ...(queueId === null ? {} : { queueId }),
    ...(consumerGroupId === null ? {} : { consumerGroupId }),
    ...(channelId === null ? {} : { channelId }),
    ...(visibilityInSeconds === null ? {} : { visibilityInSeconds }),
  };
}
