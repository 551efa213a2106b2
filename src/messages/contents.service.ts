import { Injectable } from '@nestjs/common';
import { MessageFunctions } from '../database/message-functions.js';
import type { Caller } from '../identity/caller.js';
import { PageTokens } from '../rest/page-token.js';
import type { QueueStats } from './message.schemas.js';
import { MessageRanges } from './message-ranges.js';

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
    private readonly ranges: MessageRanges,
    private readonly pages: PageTokens,
  ) {}

  /** For a dead letter queue both figures are its own. */
  async stats(
    caller: Caller,
    reference: string,
    request: { readonly channelId?: string | undefined; readonly consumerGroupId?: string | undefined },
  ): Promise<QueueStats> {
    const { range } = await this.ranges.find(caller, reference, request.consumerGroupId);
    const { queueId, consumerGroupId } = range;
    const stats = await this.functions.stats(queueId, consumerGroupId, request.channelId ?? null);
    return {
      queue: range.deadLetter ? stats.deadLetterQueue : stats.queue,
      dlq: stats.deadLetterQueue,
      ...(request.channelId === undefined ? {} : { channelId: request.channelId }),
      ...(request.consumerGroupId === undefined ? {} : { consumerGroupId: request.consumerGroupId }),
    };
  }

  /** The channels that hold messages, in order; `nextPage` is null on the last page. */
  async listChannels(
    caller: Caller,
    reference: string,
    request: ListChannelsRequest,
  ): Promise<{ items: string[]; nextPage: string | null }> {
    const { range } = await this.ranges.find(caller, reference, request.consumerGroupId);
    const limit = request.limit ?? DEFAULT_LIMIT;
    const list = `channels of ${reference} ${request.consumerGroupId ?? ''}`;
    const after = String(this.pages.decode(list, request.page)?.[0] ?? '');
    const found = await this.functions.listChannels(range, request.channelFilter ?? null, after, limit + 1);
    const items = found.slice(0, limit);
    const last = items.at(-1);
    return { items, nextPage: found.length > limit && last !== undefined ? this.pages.encode(list, [last]) : null };
  }
}
