import {
  clock,
  type Figures,
  type History,
  type Operation,
  type Outcome,
  type ReceivedMessage,
  type Rules,
  type SentMessage,
} from './history.js';

export interface Target {
  /** Where the pods listen; each call names one by its index. */
  readonly urls: readonly string[];
  readonly apiKey: string;
  readonly compartmentId: string;
}

export interface QueueSettings {
  readonly visibilityInSeconds: number;
  readonly deadLetterQueueDeliveryCount: number;
  /** See `Rules`. */
  readonly lingerMs?: number;
}

export type MessageToSend = Pick<SentMessage, 'key' | 'channelId' | 'delayInSeconds'>;

export interface GetOptions {
  readonly deadLetter?: boolean;
  readonly channelId?: string | null;
  readonly limit?: number;
  readonly visibilityInSeconds?: number | null;
  readonly timeoutInSeconds?: number;
  readonly isFinal?: boolean;
  /** The client goes away when this is aborted. */
  readonly signal?: AbortSignal;
}

interface Answer {
  readonly outcome: Outcome;
  /** False: no pod was reached, so nothing can have happened. */
  readonly isSent: boolean;
  readonly body: Readonly<Record<string, unknown>>;
  readonly calledAt: number;
  readonly answeredAt: number;
}

interface MessageBody {
  readonly id: number;
  readonly content: string;
  readonly receipt: string;
  readonly deliveryCount: number;
  readonly visibleAfter: string;
  readonly metadata?: { readonly channelId?: string };
}

interface EntryBody {
  readonly errorCode?: number;
  readonly visibleAfter?: string;
}

const CLOCK_TOLERANCE_MS = 100;
const LINGER_MS = 2000;
const API = '/20210201';

/** One queue of a running service, over HTTP; whatever is done with it is written down. */
export class RecordedQueue {
  readonly operations: Operation[] = [];
  /** Answers that no client should ever get, whatever it does here: they are failures of the test. */
  readonly surprises: string[] = [];
  /** When a request was answered with 503, and how long that took, without the time for which a poll may wait. */
  readonly unavailable: { readonly at: number; readonly ms: number }[] = [];

  private readonly urls: string[];

  private constructor(
    private readonly target: Target,
    readonly id: string,
    readonly rules: Rules,
  ) {
    this.urls = [...target.urls];
  }

  static async create(target: Target, { lingerMs = LINGER_MS, ...settings }: QueueSettings): Promise<RecordedQueue> {
    const headers = { authorization: `Bearer ${target.apiKey}`, 'content-type': 'application/json' };
    const details = { displayName: 'history', compartmentId: target.compartmentId, ...settings };
    const created = await fetch(`${target.urls[0]}${API}/queues`, {
      method: 'POST',
      headers,
      body: JSON.stringify(details),
    });
    const request = await fetch(`${target.urls[0]}${API}/workRequests/${created.headers.get('opc-work-request-id')}`, {
      headers,
    });
    const { resources } = (await request.json()) as { resources?: readonly { identifier: string }[] };
    const id = resources?.[0]?.identifier;
    if (id === undefined) throw new Error(`the queue was not created: ${created.status}`);
    return new RecordedQueue(target, id, {
      visibilityInSeconds: settings.visibilityInSeconds,
      deliveryLimit: settings.deadLetterQueueDeliveryCount,
      clockToleranceMs: CLOCK_TOLERANCE_MS,
      lingerMs,
    });
  }

  get history(): History {
    return { rules: this.rules, operations: this.operations };
  }

  /** From now on the pod with this index is found at `url`. */
  moveTo(pod: number, url: string): void {
    this.urls[pod] = url;
  }

  async put(pod: number, messages: readonly MessageToSend[], signal?: AbortSignal): Promise<Outcome> {
    const body = messages.map(({ key, channelId, delayInSeconds }) => ({
      content: key,
      ...(channelId === '' ? {} : { metadata: { channelId } }),
      ...(delayInSeconds === 0 ? {} : { delayInSeconds }),
    }));
    const answer = await this.call(pod, 'POST', '/messages', { messages: body }, signal);
    const stored = (answer.body['messages'] ?? []) as readonly { id: number }[];
    this.record(answer, {
      ...timesOf(answer),
      kind: 'put',
      messages: messages.map((message, index) => ({
        ...message,
        sizeInBytes: Buffer.byteLength(message.key),
        id: stored[index]?.id ?? null,
      })),
    });
    return answer.outcome;
  }

  /** Null where the client does not know what it was given. */
  async get(pod: number, options: GetOptions = {}): Promise<readonly ReceivedMessage[] | null> {
    const { deadLetter = false, channelId = null, limit = 1, visibilityInSeconds = null } = options;
    const query = new URLSearchParams({
      limit: String(limit),
      timeoutInSeconds: String(options.timeoutInSeconds ?? 0),
    });
    if (channelId !== null) query.set('channelFilter', channelId);
    if (visibilityInSeconds !== null) query.set('visibilityInSeconds', String(visibilityInSeconds));
    const path = `${deadLetter ? '%2Fdlq' : ''}/messages?${query.toString()}`;
    const answer = await this.call(pod, 'GET', path, undefined, options.signal, options.timeoutInSeconds);
    const messages = ((answer.body['messages'] ?? []) as readonly MessageBody[]).map(toReceived);
    this.record(answer, {
      ...timesOf(answer),
      kind: 'get',
      deadLetter,
      channelId,
      limit,
      visibilityInSeconds,
      isFinal: options.isFinal ?? false,
      messages,
    });
    return answer.outcome === 'unknown' ? null : messages;
  }

  /** One receipt with the single operation, several with the batch. */
  async update(pod: number, receipts: readonly string[], visibilityInSeconds: number, dlq = false): Promise<Outcome[]> {
    const [first = ''] = receipts;
    const isBatch = receipts.length > 1;
    const answer = isBatch
      ? await this.call(pod, 'POST', `${dlq ? '%2Fdlq' : ''}/messages/actions/updateMessages`, {
          entries: receipts.map((receipt) => ({ receipt, visibilityInSeconds })),
        })
      : await this.call(pod, 'PUT', `${dlq ? '%2Fdlq' : ''}/messages/${first}`, { visibilityInSeconds });
    const entries = (isBatch ? (answer.body['entries'] ?? []) : [answer.body]) as readonly EntryBody[];
    return receipts.map((receipt, index) => {
      const outcome = outcomeOf(answer, entries[index]);
      const { visibleAfter } = entries[index] ?? {};
      this.record(answer, {
        ...timesOf(answer),
        outcome,
        kind: 'update',
        receipt,
        visibilityInSeconds,
        visibleAfter: outcome === 'done' && visibleAfter !== undefined ? Date.parse(visibleAfter) : null,
      });
      return outcome;
    });
  }

  /** As `update`. */
  async delete(pod: number, receipts: readonly string[], dlq = false): Promise<Outcome[]> {
    const [first = ''] = receipts;
    const isBatch = receipts.length > 1;
    const answer = isBatch
      ? await this.call(pod, 'POST', `${dlq ? '%2Fdlq' : ''}/messages/actions/deleteMessages`, {
          entries: receipts.map((receipt) => ({ receipt })),
        })
      : await this.call(pod, 'DELETE', `${dlq ? '%2Fdlq' : ''}/messages/${first}`);
    const entries = (isBatch ? (answer.body['entries'] ?? []) : []) as readonly EntryBody[];
    return receipts.map((receipt, index) => {
      const outcome = outcomeOf(answer, entries[index]);
      this.record(answer, { ...timesOf(answer), outcome, kind: 'delete', receipt });
      return outcome;
    });
  }

  /** Reads the statistics until they are as `isAsExpected` wants them, for at most `waitMs`; the last are recorded. */
  async stats(isAsExpected: (queue: Figures, dlq: Figures) => boolean, waitMs: number): Promise<void> {
    const deadline = clock() + waitMs;
    for (;;) {
      const answer = await this.call(0, 'GET', '/stats');
      const { queue, dlq } = answer.body as { queue?: Figures; dlq?: Figures };
      if (queue !== undefined && dlq !== undefined && (isAsExpected(queue, dlq) || clock() > deadline)) {
        this.operations.push({ ...timesOf(answer), kind: 'stats', queue, dlq });
        return;
      }
      if (clock() > deadline) throw new Error('there were no statistics');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  private record({ isSent }: Answer, operation: Operation): void {
    if (isSent) this.operations.push(operation);
  }

  private async call(
    pod: number,
    method: string,
    path: string,
    body?: object,
    signal?: AbortSignal,
    pollSeconds = 0,
  ): Promise<Answer> {
    const url = `${this.urls[pod % this.urls.length]}${API}/queues/${this.id}${path}`;
    const calledAt = clock();
    try {
      const response = await fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${this.target.apiKey}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
      const text = await response.text();
      const answeredAt = clock();
      const { status } = response;
      if (status === 503) this.unavailable.push({ at: answeredAt, ms: answeredAt - calledAt - pollSeconds * 1000 });
      else if (status >= 400 && status !== 404) this.surprises.push(`${method} ${path}: ${status} ${text}`);
      return {
        outcome: response.ok ? 'done' : status < 500 ? 'refused' : 'unknown',
        isSent: true,
        body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
        calledAt,
        answeredAt,
      };
    } catch (error) {
      // The connection was lost, or this client went away: nobody knows what was done.
      return { outcome: 'unknown', isSent: !wasRefused(error), body: {}, calledAt, answeredAt: clock() };
    }
  }
}

/** The pod is not there: the connection was refused. */
function wasRefused(error: unknown): boolean {
  const { cause } = error as { cause?: { code?: string; errors?: readonly { code?: string }[] } };
  return [cause, ...(cause?.errors ?? [])].some((each) => each?.code === 'ECONNREFUSED');
}

function timesOf({ outcome, calledAt, answeredAt }: Answer): Pick<Answer, 'outcome' | 'calledAt' | 'answeredAt'> {
  return { outcome, calledAt, answeredAt };
}

function outcomeOf(answer: Answer, entry: EntryBody | undefined): Outcome {
  return answer.outcome === 'done' && entry?.errorCode !== undefined ? 'refused' : answer.outcome;
}

function toReceived(message: MessageBody): ReceivedMessage {
  return {
    key: message.content,
    id: message.id,
    channelId: message.metadata?.channelId ?? '',
    receipt: message.receipt,
    deliveryCount: message.deliveryCount,
    visibleAfter: Date.parse(message.visibleAfter),
  };
}
