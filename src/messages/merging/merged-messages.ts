import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../../config/environment.js';
import {
  MessageFunctions,
  type DeliveredMessage,
  type GetRequest,
  type MessageRange,
  type ReceiptKey,
  type UpdatedMessage,
  type Visibility,
} from '../../database/message-functions.js';
import { PutFunctions, type MessageToPut, type PutMessage } from '../../database/put-functions.js';
import type { Durability, Queue } from '../../database/queue-functions.js';
import { SealedMessages } from '../../encryption/sealed-messages.js';
import { FairTurns } from '../../fairness/fair-turns.js';
import { currentLane } from '../../fairness/lane.js';
import { ChannelTurns } from '../channel-turns.js';
import { Floors } from '../floors/floors.js';
import { WakeUps } from '../waiting/wake-ups.js';
import { MergeCounts, type MergeKind } from './merge-counts.js';
import { RequestMerger, type MergeBounds } from './request-merger.js';
import { shareOut } from './share-out.js';

/** Of one statement. Beyond this many messages a commit is a small part of its cost. */
const MOST_ENTRIES = 500;
const MOST_BYTES_IN = 2 * 1024 * 1024;
/** What the gets of one statement may bring together; most bring a small part of what they may. */
const MOST_BYTES_OUT = 16 * 1024 * 1024;

interface Put {
  readonly queue: Queue;
  readonly messages: readonly MessageToPut[];
  readonly hasGroups: boolean;
}

/** A get before its turn: the channel, and where to begin, are chosen when it is sent. */
export interface GetToMerge extends Omit<GetRequest, 'afterChannelId' | 'visibleFrom'> {
  /** Aborted where the client has gone: then nothing is claimed for it. */
  readonly signal: AbortSignal;
}

interface ForRange<Entry> {
  readonly range: MessageRange;
  readonly durability: Durability;
  readonly entries: readonly Entry[];
}

/**
 * Puts, gets, updates and deletes, merged with those that come beside them: see request-merger.ts. What may be merged is
 * what one statement does for all alike:
 *
 *   puts     of one queue; sealed when they are sent, so that all have one data key
 *   gets     of one queue, group, dead or not, channel (or none), visibility and caller, who is written with the delivery
 *   updates  of one queue, group, dead or not
 *   deletes  of the same
 *
 * Puts and deletes also with one durability, as far as is known when the request comes: none is confirmed earlier than it was told.
 *
 * Deliveries with visibility 0 leave the message visible, so that each would be given the same ones: they go alone.
 */
@Injectable()
export class MergedMessages {
  private readonly puts: RequestMerger<Put, PutMessage[]>;
  private readonly gets: RequestMerger<GetToMerge, DeliveredMessage[]>;
  private readonly updates: RequestMerger<ForRange<Visibility>, UpdatedMessage[]>;
  private readonly deletes: RequestMerger<ForRange<ReceiptKey>, boolean[]>;

  constructor(
    private readonly functions: MessageFunctions,
    private readonly putFunctions: PutFunctions,
    private readonly sealed: SealedMessages,
    private readonly turns: ChannelTurns,
    private readonly wakeUps: WakeUps,
    private readonly floors: Floors,
    counts: MergeCounts,
    fairTurns: FairTurns,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {
    const bounds = { ...configuration, backlog: (): number => fairTurns.waitingIn(currentLane() ?? '') };
    this.puts = new RequestMerger(
      {
        kind: 'put',
        most: { entries: MOST_ENTRIES, bytes: MOST_BYTES_IN },
        weigh: ({ messages }) => ({ entries: messages.length, bytes: sizeOf(messages) }),
        holdsBytes: true,
        run: (puts) => this.sendPuts(puts),
      },
      bounds,
      counts,
    );
    this.gets = new RequestMerger(
      {
        kind: 'get',
        most: { entries: MOST_ENTRIES, bytes: MOST_BYTES_OUT },
        weigh: ({ limit, maxBytes }) => ({ entries: limit, bytes: maxBytes }),
        holdsBytes: false,
        run: (gets) => this.sendGets(gets),
        unwanted: ({ signal }) => (signal.aborted ? [] : null),
      },
      bounds,
      counts,
    );
    this.updates = mergerOfReceipts('update', (range, entries) => functions.update(range, entries), bounds, counts);
    this.deletes = mergerOfReceipts('delete', (...all) => functions.delete(...all), bounds, counts);
  }

  /** Seals and stores messages, all or none. For those that cannot be repeats. */
  put(queue: Queue, messages: readonly MessageToPut[], hasGroups: boolean): Promise<PutMessage[]> {
    // One that would be refused for its delay, as far as is known here, does not get others into trouble.
    const isOdd = messages.some(({ delayInSeconds }) => delayInSeconds >= queue.retentionInSeconds);
    const request = { queue, messages, hasGroups };
    if (isOdd) return this.puts.alone(request);
    // What is known of the queue may have changed in between; what all of a statement share must be the same.
    const { queueId, durability, customEncryptionKeyId } = queue;
    return this.puts.submit(`${queueId} ${hasGroups} ${durability} ${customEncryptionKeyId ?? ''}`, request);
  }

  /** Delivers what is visible now; an empty array where nothing is, or the client has gone. */
  get(request: GetToMerge): Promise<DeliveredMessage[]> {
    if (request.visibilityInSeconds === 0) return this.gets.alone(request);
    const { channelId, visibilityInSeconds, deliveredTo } = request;
    // A channel's id has no blanks.
    const key = `${keyOf(request)} ${channelId ?? '*'} ${visibilityInSeconds ?? ''} ${deliveredTo}`;
    return this.gets.submit(key, request);
  }

  /** One answer per entry, in order. */
  update(range: MessageRange, entries: readonly Visibility[]): Promise<UpdatedMessage[]> {
    return this.updates.submit(keyOf(range), { range, entries, durability: 'FULL' });
  }

  /** One answer per receipt, in order: false where it is dead. */
  delete(range: MessageRange, entries: readonly ReceiptKey[], durability: Durability): Promise<boolean[]> {
    return this.deletes.submit(`${keyOf(range)} ${durability}`, { range, entries, durability });
  }

  private async sendPuts(puts: readonly Put[]): Promise<PutMessage[][]> {
    const { queue, hasGroups } = first(puts);
    const messages = puts.flatMap((put) => put.messages);
    const stored = await this.sealed.seal(queue, messages, hasGroups, (seal) =>
      this.putFunctions.put(queue.queueId, messages, this.configuration.maxChannels, seal, queue.durability),
    );
    return cut(
      stored,
      puts.map((put) => put.messages.length),
    );
  }

  private async sendGets(gets: readonly GetToMerge[]): Promise<DeliveredMessage[][]> {
    const { signal: _, ...one } = first(gets);
    const request = {
      ...one,
      afterChannelId: this.turns.lastServed(one),
      visibleFrom: this.floors.forClaim(one),
    };
    if (gets.length === 1) {
      const messages = await this.functions.get(request);
      this.servedUpTo(request, messages.at(-1));
      return [messages];
    }
    const delivered = await this.functions.getForMany(request, gets);
    this.servedUpTo(request, delivered.at(-1));
    const { answers, left } = shareOut(delivered, gets);
    if (left.length > 0) this.release(request, left);
    return answers;
  }

  private servedUpTo(request: GetRequest, last: DeliveredMessage | undefined): void {
    if (request.channelId === null && last !== undefined) this.turns.served(request, last.channelId);
  }

  /** What fits into nobody's answer goes back. Should that fail it comes back after its timeout. */
  private release(range: GetRequest, messages: readonly DeliveredMessage[]): void {
    const { queueId, consumerGroupId, deadLetter } = range;
    this.functions.release(range, messages).then(
      () => {
        for (const channelId of new Set(messages.map((message) => message.channelId))) {
          this.wakeUps.hint({ queueId, consumerGroupId, deadLetter, channelId, inMs: 0 });
        }
      },
      () => undefined,
    );
  }
}

function mergerOfReceipts<Entry, Result>(
  kind: MergeKind,
  send: (range: MessageRange, entries: readonly Entry[], durability: Durability) => Promise<readonly Result[]>,
  bounds: MergeBounds,
  counts: MergeCounts,
): RequestMerger<ForRange<Entry>, Result[]> {
  return new RequestMerger<ForRange<Entry>, Result[]>(
    {
      kind,
      most: { entries: MOST_ENTRIES, bytes: 0 },
      weigh: ({ entries }) => ({ entries: entries.length, bytes: 0 }),
      holdsBytes: false,
      run: async (requests) => {
        const { range, durability } = first(requests);
        const entries = requests.flatMap((request) => request.entries);
        return cut(
          await send(range, entries, durability),
          requests.map((request) => request.entries.length),
        );
      },
    },
    bounds,
    counts,
  );
}

/** Cuts results into those of each request. */
function cut<Result>(results: readonly Result[], lengths: readonly number[]): Result[][] {
  let start = 0;
  return lengths.map((length) => results.slice(start, (start += length)));
}

function first<Request>(requests: readonly Request[]): Request {
  const [request] = requests;
  if (request === undefined) throw new Error('a statement for no request');
  return request;
}

function keyOf({ queueId, consumerGroupId, deadLetter }: MessageRange): string {
  return `${queueId} ${consumerGroupId} ${deadLetter}`;
}

function sizeOf(messages: readonly MessageToPut[]): number {
  let bytes = 0;
  for (const { sizeInBytes } of messages) bytes += sizeInBytes;
  return bytes;
}
