import { clock, type Outcome } from './history.js';

export interface Target {
  /** Where the pods listen; each call names one by its index. */
  readonly urls: readonly string[];
  readonly apiKey: string;
  readonly compartmentId: string;
  /** Statuses with which anything may be refused; absent: none. */
  readonly refusals?: readonly number[];
}

export interface Answer {
  readonly outcome: Outcome;
  /** False: no pod was reached, so nothing can have happened. */
  readonly isSent: boolean;
  readonly workRequestId: string | null;
  readonly body: Readonly<Record<string, unknown>>;
  readonly calledAt: number;
  readonly answeredAt: number;
}

export interface CallOptions {
  readonly body?: object;
  /** The client goes away when this is aborted. */
  readonly signal?: AbortSignal;
  /** For how long a poll may wait. */
  readonly pollSeconds?: number;
  /** Refusals that a client of the load may get; others are surprises. */
  readonly refusals?: readonly number[];
}

export const API = '/20210201';

/** A client of all pods, that tells the outcome of each call and when it was called and answered. */
export class Client {
  /** Answers that no client should ever get, whatever it does here: they are failures of the test. */
  readonly surprises: string[] = [];
  /** When a request was answered with 503, and how long that took, without the time for which a poll may wait. */
  readonly unavailable: { readonly at: number; readonly ms: number }[] = [];
  private readonly urls: string[];

  constructor(private readonly target: Target) {
    this.urls = [...target.urls];
  }

  get headers(): Readonly<Record<string, string>> {
    return { authorization: `Bearer ${this.target.apiKey}` };
  }

  /** From now on the pod with this index is found at `url`. */
  moveTo(pod: number, url: string): void {
    this.urls[pod] = url;
  }

  async call(pod: number, method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const { body, signal, pollSeconds = 0, refusals = [404] } = options;
    const url = `${this.urls[pod % this.urls.length]}${API}${path}`;
    const calledAt = clock();
    try {
      const response = await fetch(url, {
        method,
        headers: {
          ...this.headers,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
      const text = await response.text();
      const answeredAt = clock();
      const { status } = response;
      if (status === 503) this.unavailable.push({ at: answeredAt, ms: answeredAt - calledAt - pollSeconds * 1000 });
      else if (status >= 400 && ![...refusals, ...(this.target.refusals ?? [])].includes(status))
        this.surprises.push(`${method} ${path}: ${status} ${text}`);
      return {
        outcome: response.ok ? 'done' : status < 500 ? 'refused' : 'unknown',
        isSent: true,
        workRequestId: response.headers.get('opc-work-request-id'),
        body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
        calledAt,
        answeredAt,
      };
    } catch (error) {
      // The connection was lost, or this client went away: nobody knows what was done.
      const isSent = !wasRefused(error);
      return { outcome: 'unknown', isSent, workRequestId: null, body: {}, calledAt, answeredAt: clock() };
    }
  }

  /** Creates something that is there at once, and returns its id. */
  async create(path: string, details: object): Promise<string> {
    const created = await this.call(0, 'POST', path, { body: details });
    const request = await this.call(0, 'GET', `/workRequests/${created.workRequestId}`);
    const resources = request.body['resources'] as readonly { identifier: string }[] | undefined;
    const id = resources?.[0]?.identifier;
    if (id === undefined) throw new Error(`${path}: nothing was created: ${JSON.stringify(created.body)}`);
    return id;
  }
}

/** The pod is not there: the connection was refused. */
function wasRefused(error: unknown): boolean {
  const { cause } = error as { cause?: { code?: string; errors?: readonly { code?: string }[] } };
  return [cause, ...(cause?.errors ?? [])].some((each) => each?.code === 'ECONNREFUSED');
}
