import { Injectable } from '@nestjs/common';
import { ConsumerGroupDirectory } from '../consumer-groups/consumer-group-directory.js';
import type { MessageRange } from '../database/message-functions.js';
import type { Queue } from '../database/queue-functions.js';
import type { Caller } from '../identity/caller.js';
import { QueueDirectory } from '../queues/queue-directory.js';

/** Finds the range of messages that a caller names by a queue (or its dead letter queue) and a consumer group. */
@Injectable()
export class MessageRanges {
  constructor(
    private readonly queues: QueueDirectory,
    private readonly groups: ConsumerGroupDirectory,
  ) {}

  /** Without a group the primary one's. Throws NotAuthorizedOrNotFound. */
  async find(
    caller: Caller,
    reference: string,
    consumerGroupId: string | undefined,
  ): Promise<{ readonly queue: Queue; readonly range: MessageRange }> {
    const { queue, deadLetter } = await this.queues.find(caller, reference);
    const group = await this.groups.find(caller, queue, consumerGroupId);
    return { queue, range: { queueId: queue.queueId, consumerGroupId: group, deadLetter } };
  }
}
