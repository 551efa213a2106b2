import { setTimeout as sleep } from 'node:timers/promises';
import { API, Client, type Answer, type CallOptions, type Target } from './client.js';
import {
  clock,
  type Figures,
  type GroupRules,
  type History,
  type Operation,
  type Outcome,
  type ReceivedMessage,
  type RedriveCall,
  type Rules,
  type SentMessage,
  type Side,
} from './history.js';
import { redrive, type RedriveOptions } from './redrive.js';

export interface QueueSettings {
  readonly visibilityInSeconds: number;
  readonly deadLetterQueueDeliveryCount: number;
  /** Consumer groups beside the primary one. */
  readonly groups?: readonly GroupSettings[];
  /** See `Rules`. */
  readonly lingerMs?: number;
}

export interface GroupSettings extends Pick<GroupRules, 'name' | 'takes'> {
  /** What the service is told of `takes`. */
  readonly filter: string;
  /** Absent: the queue's. */
  readonly deadLetterQueueDeliveryCount?: number;
}

export type MessageToSend = Pick<SentMessage, 'key' | 'channelId' | 'delayInSeconds'> &
  Partial<Pick<SentMessage, 'properties'>>;

export interface GetOptions extends Partial<Side> {
  readonly channelId?: string | null;
  readonly limit?: number;
  readonly visibilityInSeconds?: number | null;
  readonly timeoutInSeconds?: number;
  readonly isFinal?: boolean;
  /** The client goes away when this is aborted. */
  readonly signal?: AbortSignal;
}

interface MessageBody {
  readonly id: number;
  readonly content: string;
  readonly receipt: string;
  readonly deliveryCount: number;
  readonly visibleAfter: string;
  readonly createdAt: string;
  readonly expireAfter: string;
  readonly metadata?: { readonly channelId?: string };
}

interface EntryBody {
  readonly errorCode?: number;
  readonly visibleAfter?: string;
}

const CLOCK_TOLERANCE_MS = 100;
const LINGER_MS = 2000;
/** For how long after that the statistics may fail to answer at all. */
const STATS_PATIENCE_MS = 10_000;

/** One queue of a running service, over HTTP; whatever is done with it is written down. */
export class RecordedQueue {
  readonly operations: Operation[] = [];

  private constructor(
    private readonly client: Client,
    readonly id: string,
    readonly rules: Rules,
    /** The OCIDs of the groups beside the primary one, by name. */
    private readonly groupIds: ReadonlyMap<string, string>,
  ) {}

  static async create(target: Target, settings: QueueSettings): Promise<RecordedQueue> {
    const { groups = [], lingerMs = LINGER_MS, visibilityInSeconds, deadLetterQueueDeliveryCount } = settings;
    const client = new Client(target);
    const id = await client.create('/queues', {
      displayName: 'history',
      compartmentId: target.compartmentId,
      visibilityInSeconds,
      deadLetterQueueDeliveryCount,
      ...(groups.length === 0 ? {} : { capabilities: [{ type: 'CONSUMER_GROUPS' }] }),
    });
    const groupIds = new Map<string, string>();
    const rules: GroupRules[] = [{ name: '', deliveryLimit: deadLetterQueueDeliveryCount, takes: () => true }];
    for (const { name, takes, filter, deadLetterQueueDeliveryCount: limit } of groups) {
      const details = { displayName: name, queueId: id, filter, deadLetterQueueDeliveryCount: limit };
      groupIds.set(name, await client.create('/consumerGroups', details));
      rules.push({ name, takes, deliveryLimit: limit ?? deadLetterQueueDeliveryCount });
    }
    const clocks = { clockToleranceMs: CLOCK_TOLERANCE_MS, lingerMs };
    return new RecordedQueue(client, id, { visibilityInSeconds, groups: rules, ...clocks }, groupIds);
  }

  get history(): History {
    return { rules: this.rules, operations: this.operations };
  }

  get surprises(): readonly string[] {
    return this.client.surprises;
  }

  get unavailable(): Client['unavailable'] {
    return this.client.unavailable;
  }

  /** Where a pod at `url` tells the statistics, and what a request for them needs. */
  statsAt(url: string): { readonly url: string; readonly headers: Readonly<Record<string, string>> } {
    return { url: `${url}${API}/queues/${this.id}/stats`, headers: this.client.headers };
  }

  moveTo(pod: number, url: string): void {
    this.client.moveTo(pod, url);
  }

  async put(pod: number, messages: readonly MessageToSend[], signal?: AbortSignal): Promise<Outcome> {
    const body = messages.map(({ key, channelId, delayInSeconds, properties }) => ({
      content: key,
      metadata: {
        ...(channelId === '' ? {} : { channelId }),
        ...(properties === undefined ? {} : { customProperties: properties }),
      },
      ...(delayInSeconds === 0 ? {} : { delayInSeconds }),
    }));
    const options = { body: { messages: body }, ...(signal === undefined ? {} : { signal }) };
    const answer = await this.call(pod, 'POST', '/messages', options);
    const stored = (answer.body['messages'] ?? []) as readonly { id: number }[];
    this.record(answer, {
      ...timesOf(answer),
      kind: 'put',
      messages: messages.map((message, index) => ({
        ...message,
        properties: message.properties ?? {},
        sizeInBytes: sizeOf(message),
        id: stored[index]?.id ?? null,
      })),
    });
    return answer.outcome;
  }

  /** Null where the client does not know what it was given. */
  async get(pod: number, options: GetOptions = {}): Promise<readonly ReceivedMessage[] | null> {
    const { channelId = null, limit = 1, visibilityInSeconds = null, timeoutInSeconds: pollSeconds = 0 } = options;
    const side = sideOf(options);
    const query = new URLSearchParams({
      limit: String(limit),
      timeoutInSeconds: String(pollSeconds),
    });
    if (channelId !== null) query.set('channelFilter', channelId);
    if (visibilityInSeconds !== null) query.set('visibilityInSeconds', String(visibilityInSeconds));
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    const answer = await this.callOn(side, pod, 'GET', '/messages', { pollSeconds, ...signal }, query);
    const messages = ((answer.body['messages'] ?? []) as readonly MessageBody[]).map(toReceived);
    this.record(answer, {
      ...timesOf(answer),
      ...side,
      kind: 'get',
      channelId,
      limit,
      visibilityInSeconds,
      isFinal: options.isFinal ?? false,
      messages,
    });
    return answer.outcome === 'unknown' ? null : messages;
  }

  /** One receipt with the single operation, several with the batch. */
  async update(
    pod: number,
    receipts: readonly string[],
    visibilityInSeconds: number,
    on: Partial<Side> = {},
  ): Promise<Outcome[]> {
    const [first = ''] = receipts;
    const side = sideOf(on);
    const isBatch = receipts.length > 1;
    const batch = { entries: receipts.map((receipt) => ({ receipt, visibilityInSeconds })) };
    const answer = isBatch
      ? await this.callOn(side, pod, 'POST', '/messages/actions/updateMessages', { body: batch })
      : await this.callOn(side, pod, 'PUT', `/messages/${first}`, { body: { visibilityInSeconds } });
    const entries = (isBatch ? (answer.body['entries'] ?? []) : [answer.body]) as readonly EntryBody[];
    return receipts.map((receipt, index) => {
      const outcome = outcomeOf(answer, entries[index]);
      const { visibleAfter } = entries[index] ?? {};
      this.record(answer, {
        ...timesOf(answer),
        ...side,
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
  async delete(pod: number, receipts: readonly string[], on: Partial<Side> = {}): Promise<Outcome[]> {
    const [first = ''] = receipts;
    const side = sideOf(on);
    const isBatch = receipts.length > 1;
    const batch = { entries: receipts.map((receipt) => ({ receipt })) };
    const answer = isBatch
      ? await this.callOn(side, pod, 'POST', '/messages/actions/deleteMessages', { body: batch })
      : await this.callOn(side, pod, 'DELETE', `/messages/${first}`);
    const entries = (isBatch ? (answer.body['entries'] ?? []) : []) as readonly EntryBody[];
    return receipts.map((receipt, index) => {
      const outcome = outcomeOf(answer, entries[index]);
      this.record(answer, { ...timesOf(answer), ...side, outcome, kind: 'delete', receipt });
      return outcome;
    });
  }

  /** Starts a redrive and waits until its work request has ended. */
  async redrive(pod: number, options: RedriveOptions): Promise<RedriveCall> {
    const groupId = options.group === null ? 'all' : this.groupIds.get(options.group);
    const { answer, call } = await redrive(this.client, pod, this.id, groupId, options);
    // A dry run must change nothing.
    if (options.isDryRun !== true) this.record(answer, call);
    return call;
  }

  /** Reads the statistics until they are as `isAsExpected` wants them, until `deadline` at most; the last are recorded. */
  async stats(group: string, isAsExpected: (queue: Figures, dlq: Figures) => boolean, deadline: number): Promise<void> {
    for (;;) {
      const answer = await this.callOn({ group, deadLetter: false }, 0, 'GET', '/stats');
      const { queue, dlq } = answer.body as { queue?: Figures; dlq?: Figures };
      if (queue !== undefined && dlq !== undefined && (isAsExpected(queue, dlq) || clock() > deadline)) {
        this.operations.push({ ...timesOf(answer), kind: 'stats', group, queue, dlq });
        return;
      }
      if (clock() > deadline + STATS_PATIENCE_MS) throw new Error('there were no statistics');
      await sleep(100);
    }
  }

  private record({ isSent }: Answer, operation: Operation): void {
    if (isSent) this.operations.push(operation);
  }

  private call(pod: number, method: string, path: string, options?: CallOptions): Promise<Answer> {
    return this.client.call(pod, method, `/queues/${this.id}${path}`, options);
  }

  private callOn(
    { group, deadLetter }: Side,
    pod: number,
    method: string,
    path: string,
    options?: CallOptions,
    query = new URLSearchParams(),
  ): Promise<Answer> {
    const groupId = this.groupIds.get(group);
    if (groupId !== undefined) query.set('consumerGroupId', groupId);
    return this.call(pod, method, `${deadLetter ? '%2Fdlq' : ''}${path}?${query.toString()}`, options);
  }
}

function sideOf({ group = '', deadLetter = false }: Partial<Side>): Side {
  return { group, deadLetter };
}

function sizeOf({ key, properties = {} }: MessageToSend): number {
  return [key, ...Object.entries(properties).flat()].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
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
    createdAt: message.createdAt,
    expireAfter: message.expireAfter,
  };
}
