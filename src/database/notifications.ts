import { Injectable } from '@nestjs/common';
import { EventEmitter } from 'node:events';
import pg from 'pg';
import pgListen from 'pg-listen';

// pg-listen is CommonJS: under ESM its function is the default of the default.
const createSubscriber = pgListen.default;
type Subscriber = ReturnType<typeof createSubscriber<Record<string, unknown>>>;

const CHANNEL = 'towpath';
/** Nobody listens there. */
const PROBE_CHANNEL = 'towpath_probe';

/** A connection can die without a sign, so it is asked so often whether it lives, and must answer in time. */
const PROBE_EVERY_MS = 10_000;
const ANSWER_MS = 5000;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2000;

interface NotificationEvents {
  /** A payload that some pod, or a user's SQL, has sent: JSON, of unknown shape. */
  message: [payload: unknown];
  /** Listening (again): whatever was sent until now may have been missed. */
  listening: [];
}

/**
 * The one listening connection of this pod. A notification is a hint: lost, doubled or late ones cost latency only.
 * The connection comes back by itself, for as long as it takes.
 *
 * pg-listen makes and reads the connection. It does not make it again: what it does after a loss gives up for
 * good when the first statement on the new connection fails, and hears only the first error of the old one, while a
 * second would end the process. So a lost subscriber is thrown away and a new one made. Nor does it probe: its probe
 * would be sent while a notification is under way, which pg does not allow.
 */
@Injectable()
export class Notifications {
  readonly events = new EventEmitter<NotificationEvents>();
  /** Null while there is none that listens. */
  private listening: Listening | null = null;
  /** Statements go one after another: pg does not want a second one on a connection before the first has ended. */
  private lastSend: Promise<unknown> = Promise.resolve();
  private readonly closed = Promise.withResolvers<void>();
  private isClosed = false;
  private keeping: Promise<void> = Promise.resolve();

  constructor(
    private readonly url: string,
    private readonly log: { warn(details: object, message: string): void },
    private readonly probeEveryMs = PROBE_EVERY_MS,
  ) {}

  /** Throws where the first connection cannot be made; from then on it is kept. */
  async start(): Promise<void> {
    this.keeping = this.keep(await this.listen());
  }

  get isListening(): boolean {
    return this.listening !== null;
  }

  /** Tells every listening pod, this one included. Fails silently: it is a hint. */
  async send(payload: object): Promise<void> {
    await this.notify(CHANNEL, payload);
  }

  async close(): Promise<void> {
    this.events.removeAllListeners();
    this.isClosed = true;
    this.closed.resolve();
    await this.keeping;
  }

  /** Until the end: tells that it listens, waits until the connection is lost, makes another one. */
  private async keep(first: Listening): Promise<void> {
    let listening: Listening | null = first;
    for (let attempt = 0; !this.isClosed; attempt += 1) {
      if (listening !== null) {
        attempt = 0;
        this.listening = listening;
        this.events.emit('listening');
        const probing = setInterval(() => void this.notify(PROBE_CHANNEL, {}), this.probeEveryMs);
        await Promise.race([listening.lost, this.closed.promise]);
        clearInterval(probing);
        this.listening = null;
        const closed = close(listening.subscriber);
        if (this.isClosed) return closed;
        this.log.warn({}, 'the listening connection is gone; connecting again');
      }
      listening = await this.listen().catch(() => null);
      if (listening === null) await this.pause(Math.min(FIRST_RETRY_MS * 2 ** attempt, LAST_RETRY_MS));
    }
    if (listening !== null) await close(listening.subscriber);
  }

  private async notify(channel: string, payload: object): Promise<void> {
    const notify = this.lastSend.then(() => this.notifyOn(this.listening, channel, payload));
    this.lastSend = notify.catch(() => undefined);
    try {
      await notify;
    } catch (error) {
      if (!this.isClosed) this.log.warn({ err: error }, 'a notification could not be sent');
    }
  }

  /** Without a connection it is lost. Who missed it looks again, or is told again, once this pod listens. */
  private async notifyOn(listening: Listening | null, channel: string, payload: object): Promise<void> {
    try {
      await listening?.subscriber.notify(channel, payload);
    } catch (error) {
      // What the server refuses, it has answered.
      if (!(error instanceof pg.DatabaseError)) listening?.lose();
      throw error;
    }
  }

  private async listen(): Promise<Listening> {
    const subscriber: Subscriber = createSubscriber(
      {
        connectionString: this.url,
        application_name: 'towpath listen',
        connectionTimeoutMillis: ANSWER_MS,
        // A probe that gets no answer must fail, or a half-open connection would look alive for ever.
        query_timeout: ANSWER_MS,
      },
      // One attempt is none: see above.
      { retryLimit: 1, paranoidChecking: false, parse: parseOrNull },
    );
    const { promise: lost, resolve: lose } = Promise.withResolvers<void>();
    subscriber.events.on('error', () => lose());
    subscriber.notifications.on(CHANNEL, (payload) => this.events.emit('message', payload));
    try {
      await subscriber.connect();
      await subscriber.listenTo(CHANNEL);
      return { subscriber, lost, lose };
    } catch (error) {
      await close(subscriber);
      throw error;
    }
  }

  private async pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await Promise.race([promise, this.closed.promise]);
    clearTimeout(timer);
  }
}

interface Listening {
  readonly subscriber: Subscriber;
  /** Fulfilled when the connection is gone. */
  readonly lost: Promise<void>;
  readonly lose: () => void;
}

/** Anybody with the password may notify: what is no JSON is not for us. */
function parseOrNull(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return null;
  }
}

/** A connection that is dead cannot say goodbye, so nobody waits for that for long. */
async function close(subscriber: Subscriber): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ANSWER_MS);
  subscriber.close().then(resolve, resolve);
  await promise;
  clearTimeout(timer);
}
