import { Injectable } from '@nestjs/common';
import {
  MessageFunctions,
  type MessageRange,
  type ReceiptKey,
  type Visibility,
} from '../database/message-functions.js';
import type { Durability, Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { RateLimits } from '../limits/rate-limits.js';
import type { Confirmed } from './durability.js';
import {
  MAX_VISIBILITY,
  type DeleteMessagesResult,
  type UpdatedMessage,
  type UpdateMessagesResult,
} from './message.schemas.js';
import { MergedMessages } from './merging/merged-messages.js';
import { MessageRanges } from './message-ranges.js';
import { deadReceipt, Receipts } from './receipts.js';
import { WakeUps } from './waiting/wake-ups.js';

interface Update {
  readonly receipt: string;
  readonly visibilityInSeconds: number;
}

/** Where the deliveries are. */
interface Place {
  readonly queue: Queue;
  readonly range: MessageRange;
}

interface GivenBack extends ReceiptKey {
  readonly channelId: string;
}

/** What the holder of a delivery does with it: extend (or shorten) it, or delete the message. */
@Injectable()
export class DeliveriesService {
  constructor(
    private readonly functions: MessageFunctions,
    private readonly merged: MergedMessages,
    private readonly ranges: MessageRanges,
    private readonly receipts: Receipts,
    private readonly wakeUps: WakeUps,
    private readonly rates: RateLimits,
  ) {}

  /** Throws InvalidParameter for a garbled receipt, NotAuthorizedOrNotFound for a dead one, TooManyRequests. */
  async update(
    caller: Caller,
    queue: string,
    groupId: string | undefined,
    entry: Update,
  ): Promise<Confirmed<UpdatedMessage>> {
    const place = await this.find(caller, queue, groupId, 'update');
    return confirmed(place, valueOf(await this.updateAll(place, [entry])));
  }

  /** One result per entry, in order; one that fails does not touch the others. */
  async updateMany(
    caller: Caller,
    queue: string,
    groupId: string | undefined,
    entries: readonly Update[],
  ): Promise<Confirmed<UpdateMessagesResult>> {
    const place = await this.find(caller, queue, groupId, 'update');
    return confirmed(
      place,
      toBatchResult(await this.updateAll(place, entries), (updated) => updated),
    );
  }

  /** As `update`. */
  async delete(
    caller: Caller,
    queue: string,
    groupId: string | undefined,
    receipt: string,
  ): Promise<Confirmed<undefined>> {
    const place = await this.find(caller, queue, groupId, 'delete');
    valueOf(await this.deleteAll(place, [receipt]));
    return confirmed(place, undefined);
  }

  /** As `updateMany`. */
  async deleteMany(
    caller: Caller,
    queue: string,
    groupId: string | undefined,
    receipts: readonly string[],
  ): Promise<Confirmed<DeleteMessagesResult>> {
    const place = await this.find(caller, queue, groupId, 'delete');
    return confirmed(
      place,
      toBatchResult(await this.deleteAll(place, receipts), () => ({})),
    );
  }

  /** As `updateMany`, for a holder on this pod, who has to prove nothing: whether each was still held. */
  async updateHeld(
    caller: Caller,
    queue: string,
    groupId: string | undefined,
    entries: readonly Visibility[],
  ): Promise<Confirmed<boolean[]>> {
    const place = await this.find(caller, queue, groupId, 'update');
    return confirmed(
      place,
      (await this.applyUpdates(place, entries)).map((updated) => updated !== null),
    );
  }

  /** As `deleteMany`, likewise. */
  async deleteHeld(
    caller: Caller,
    queue: string,
    groupId: string | undefined,
    deliveries: readonly ReceiptKey[],
  ): Promise<Confirmed<boolean[]>> {
    const place = await this.find(caller, queue, groupId, 'delete');
    return confirmed(place, await this.merged.delete(place.range, deliveries, place.queue.durability));
  }

  /**
   * Gives deliveries back whose holder goes away: the messages are visible at once, the receipts are dead. `counted` is
   * false for those that never reached their holder: then it is as if they had not been delivered. Asks nobody for
   * permission: the holder had it. What is somebody else's already is passed over. `durability` is the queue's, as far as is known.
   */
  async giveBack(
    range: MessageRange,
    deliveries: readonly GivenBack[],
    counted: boolean,
    durability: Durability,
  ): Promise<void> {
    if (deliveries.length === 0) return;
    await (counted
      ? this.functions.giveBack(range, deliveries, durability)
      : this.functions.release(range, deliveries));
    for (const channelId of new Set(deliveries.map((delivery) => delivery.channelId))) {
      this.wakeUps.hint({ ...range, channelId, inMs: 0 });
    }
  }

  private async find(
    caller: Caller,
    reference: string,
    groupId: string | undefined,
    api: 'update' | 'delete',
  ): Promise<Place> {
    const place = await this.ranges.find(caller, reference, groupId);
    this.rates.request(place.queue, api);
    return place;
  }

  private async updateAll(place: Place, entries: readonly Update[]): Promise<(UpdatedMessage | ServiceError)[]> {
    const read = entries.map((entry) => {
      const { visibilityInSeconds } = entry;
      if (!Number.isInteger(visibilityInSeconds) || visibilityInSeconds < 0 || visibilityInSeconds > MAX_VISIBILITY) {
        return new ServiceError(
          'InvalidParameter',
          `visibilityInSeconds must be an integer from 0 to ${MAX_VISIBILITY}; it is ${visibilityInSeconds}`,
        );
      }
      const key = this.receipts.read(place.range, entry.receipt);
      return key instanceof ServiceError ? key : { ...key, visibilityInSeconds };
    });
    const good = read.filter(isGood);
    const updated = good.length === 0 ? [] : await this.applyUpdates(place, good);
    let next = 0;
    return read.map((entry) => (entry instanceof ServiceError ? entry : (updated[next++] ?? deadReceipt())));
  }

  /** Null: it is not held any more. */
  private async applyUpdates({ range }: Place, entries: readonly Visibility[]): Promise<(UpdatedMessage | null)[]> {
    const updated = await this.merged.update(range, entries);
    return entries.map(({ id, visibilityInSeconds }, index) => {
      const { visibleAfter = null, channelId = null } = updated[index] ?? {};
      if (visibleAfter === null) return null;
      this.wakeUps.hint({ ...range, channelId, inMs: visibilityInSeconds * 1000 });
      return { id, visibleAfter: visibleAfter.toISOString() };
    });
  }

  private async deleteAll(
    { queue, range }: Place,
    receipts: readonly string[],
  ): Promise<(ReceiptKey | ServiceError)[]> {
    const read = receipts.map((receipt) => this.receipts.read(range, receipt));
    const good = read.filter(isGood);
    const deleted = good.length === 0 ? [] : await this.merged.delete(range, good, queue.durability);
    let next = 0;
    return read.map((key) => (key instanceof ServiceError ? key : deleted[next++] === true ? key : deadReceipt()));
  }
}

function confirmed<Outcome>({ queue }: Place, outcome: Outcome): Confirmed<Outcome> {
  return { outcome, durability: queue.durability };
}

function isGood<Value>(value: Value | ServiceError): value is Exclude<Value, ServiceError> {
  return !(value instanceof ServiceError);
}

function valueOf<Value>(results: readonly (Value | ServiceError)[]): Value {
  const [result] = results;
  if (result === undefined) throw new Error('a batch of one has no result');
  if (result instanceof ServiceError) throw result;
  return result;
}

interface BatchResult<Entry> {
  serverFailures: number;
  clientFailures: number;
  entries: (Entry | { errorCode: number; errorMessage: string })[];
}

function toBatchResult<Value, Entry>(
  results: readonly (Value | ServiceError)[],
  toEntry: (value: Value) => Entry,
): BatchResult<Entry> {
  return {
    serverFailures: 0,
    clientFailures: results.filter((result) => result instanceof ServiceError).length,
    entries: results.map((result) =>
      result instanceof ServiceError ? { errorCode: result.status, errorMessage: result.message } : toEntry(result),
    ),
  };
}
