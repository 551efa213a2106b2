import { Injectable } from '@nestjs/common';
import { EventEmitter } from 'node:events';
import pgListen from 'pg-listen';

// pg-listen is CommonJS: under ESM its function is the default of the default.
const createSubscriber = pgListen.default;

const CHANNEL = 'towpath';
/** PostgreSQL refuses payloads of 8,000 bytes and more. */
export const MAX_PAYLOAD_BYTES = 7500;

interface NotificationEvents {
  /** A payload that some pod, or a user's SQL, has sent: JSON, of unknown shape. */
  message: [payload: unknown];
  /** Listening (again): whatever was sent until now may have been missed. */
  listening: [];
}

/**
 * The one listening connection of this pod. A notification is a hint: lost, doubled or late ones cost latency only.
 * The connection is probed, because it can die silently, and comes back by itself.
 */
@Injectable()
export class Notifications {
  readonly events = new EventEmitter<NotificationEvents>();
  private readonly subscriber: ReturnType<typeof createSubscriber<Record<string, unknown>>>;
  private closed = false;
  private listening = false;

  constructor(
    url: string,
    private readonly log: { warn(details: object, message: string): void },
  ) {
    this.subscriber = createSubscriber(
      // A probe that gets no answer must fail, or a half-open connection would look alive for ever.
      { connectionString: url, application_name: 'towpath listen', query_timeout: 5000, connectionTimeoutMillis: 5000 },
      // 0: try for ever.
      { retryInterval: (attempt) => Math.min(100 * 2 ** attempt, 2000), retryTimeout: 0, paranoidChecking: 10_000 },
    );
    this.subscriber.notifications.on(CHANNEL, (payload) => this.events.emit('message', payload));
    this.subscriber.events.on('connected', () => {
      this.listening = true;
      this.events.emit('listening');
    });
    this.subscriber.events.on('reconnect', (attempt) => {
      this.listening = false;
      if (!this.closed && attempt === 1) this.log.warn({}, 'the listening connection is gone; connecting again');
    });
    this.subscriber.events.on('error', (error) => {
      if (!this.closed) this.log.warn({ err: error }, 'the listening connection has a problem');
    });
  }

  async start(): Promise<void> {
    await this.subscriber.connect();
    await this.subscriber.listenTo(CHANNEL);
  }

  get isListening(): boolean {
    return this.listening;
  }

  /** Tells every listening pod, this one included. Fails silently: it is a hint. */
  async send(payload: object): Promise<void> {
    try {
      await this.subscriber.notify(CHANNEL, payload);
    } catch (error) {
      if (!this.closed) this.log.warn({ err: error }, 'a notification could not be sent');
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    this.events.removeAllListeners();
    await this.subscriber.close();
  }
}
