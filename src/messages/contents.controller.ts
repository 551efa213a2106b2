import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import { ContentsService } from './contents.service.js';
import { channelCollection, getStatsQuery, listChannelsQuery, queueStats, type QueueStats } from './message.schemas.js';

@ApiTags('messages')
@Controller(`${API_VERSION}/queues/:queueId`)
export class ContentsController {
  constructor(private readonly contents: ContentsService) {}

  @Get('stats')
  @Operation({
    id: 'getStats',
    summary: 'Tells how many messages a queue and its dead letter queue hold',
    description: 'Approximate while producers and consumers work. Costs the same however many messages wait.',
    permission: 'read queues',
    takesDeadLetters: true,
    success: { status: 200, description: 'The figures.', schema: queueStats },
  })
  stats(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: getStatsQuery }) query: z.infer<typeof getStatsQuery>,
  ): Promise<QueueStats> {
    return this.contents.stats(caller, queueId, query);
  }

  @Get('channels')
  @Operation({
    id: 'listChannels',
    summary: 'Lists the channels that hold messages',
    permission: 'read queues',
    takesDeadLetters: true,
    success: { status: 200, description: 'Channel ids.', schema: channelCollection, headers: NEXT_PAGE_HEADER },
  })
  async channels(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: listChannelsQuery }) query: z.infer<typeof listChannelsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ items: string[] }> {
    const { items, nextPage } = await this.contents.listChannels(caller, queueId, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return { items };
  }
}
