import { Injectable } from '@nestjs/common';
import { MessageFunctions } from '../database/message-functions.js';
import type { Caller } from '../identity/caller.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import { PageTokens } from '../rest/page-token.js';
import type { QueueStats } from './message.schemas.js';
import { rangeOf, refuseConsumerGroup } from './messages.service.js';

const DEFAULT_LIMIT = 100;

interface ListChannelsRequest {
  readonly consumerGroupId?: string | undefined;
  readonly channelFilter?: string | undefined;
  readonly limit?: number | undefined;
  readonly page?: string | undefined;
}

/** What a queue holds: its figures and its channels. */
@Injectable()
export class ContentsService {
  constructor(
    private readonly functions: MessageFunctions,
    private readonly directory: QueueDirectory,
    private readonly pages: PageTokens,
  ) {}

  /** For a dead letter queue both figures are its own. */
  async stats(
    caller: Caller,
    reference: string,
    request: { readonly channelId?: string | undefined; readonly consumerGroupId?: string | undefined },
  ): Promise<QueueStats> {
    const target = await this.directory.find(caller, reference);
    refuseConsumerGroup(request.consumerGroupId);
    const { queueId, consumerGroupId } = rangeOf(target);
    const stats = await this.functions.stats(queueId, consumerGroupId, request.channelId ?? null);
    return {
      queue: target.deadLetter ? stats.deadLetterQueue : stats.queue,
      dlq: stats.deadLetterQueue,
      ...(request.channelId === undefined ? {} : { channelId: request.channelId }),
    };
  }

  /** The channels that hold messages, in order; `nextPage` is null on the last page. */
  async listChannels(
    caller: Caller,
    reference: string,
    request: ListChannelsRequest,
  ): Promise<{ items: string[]; nextPage: string | null }> {
    const target = await this.directory.find(caller, reference);
    refuseConsumerGroup(request.consumerGroupId);
    const limit = request.limit ?? DEFAULT_LIMIT;
    const list = `channels of ${reference}`;
    const after = String(this.pages.decode(list, request.page)?.[0] ?? '');
    const found = await this.functions.listChannels(rangeOf(target), request.channelFilter ?? null, after, limit + 1);
    const items = found.slice(0, limit);
    const last = items.at(-1);
    return { items, nextPage: found.length > limit && last !== undefined ? this.pages.encode(list, [last]) : null };
  }
}
