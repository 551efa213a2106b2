import { Body, Controller, Delete, Get, Headers, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import type { Hold } from '../memory/memory-budget.js';
import { ClientGone } from '../rest/client-gone.js';
import { RequestHold } from '../rest/held-memory.js';
import {
  API_VERSION,
  DURABILITY_HEADER,
  Operation,
  PUT_RETRY_TOKEN_HEADER,
  tellDurability,
} from '../rest/operation.js';
import { DeliveriesService } from './deliveries.service.js';
import { GetsService } from './gets.service.js';
import {
  consumerGroupQuery,
  deleteMessagesDetails,
  deleteMessagesResult,
  getMessages,
  getMessagesQuery,
  putMessages,
  putMessagesDetails,
  updatedMessage,
  updateMessageDetails,
  updateMessagesDetails,
  updateMessagesResult,
  type DeleteMessagesResult,
  type Message,
  type PutMessages,
  type UpdatedMessage,
  type UpdateMessagesResult,
} from './message.schemas.js';
import { PutsService } from './puts.service.js';

@ApiTags('messages')
@Controller(`${API_VERSION}/queues/:queueId/messages`)
export class MessagesController {
  constructor(
    private readonly puts: PutsService,
    private readonly gets: GetsService,
    private readonly deliveries: DeliveriesService,
  ) {}

  @Post()
  @Operation({
    id: 'putMessages',
    summary: 'Puts messages',
    description:
      'Stores 1 to 20 messages, all or none. The answer comes after they are durable; on a queue with the durability RELAXED a ' +
      'little before, as the header towpath-durability says. One that gets no answer may ' +
      'have been stored: SDKs do not repeat it by themselves. With `opc-retry-token`, or a `deduplicationId` in each ' +
      'message, it may be repeated.',
    permission: 'use queue-push',
    headers: PUT_RETRY_TOKEN_HEADER,
    success: {
      status: 200,
      description: 'The messages are stored; ids are in the order sent.',
      schema: putMessages,
      headers: DURABILITY_HEADER,
    },
    errors: ['LimitExceeded', 'PayloadTooLarge', 'UnsupportedMediaType', 'IncorrectState', 'InvalidatedRetryToken'],
  })
  async put(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Headers('opc-retry-token') retryToken: string | undefined,
    @Body({ schema: putMessagesDetails }) details: z.infer<typeof putMessagesDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PutMessages> {
    return tellDurability(reply, await this.puts.put(caller, queueId, details, retryToken));
  }

  @Get()
  @Operation({
    id: 'getMessages',
    summary: 'Gets messages',
    description:
      'Delivers visible messages of one channel, counts the delivery and hides them for the visibility timeout. ' +
      'While there is nothing it waits, at most for the polling timeout. A pod that is short of memory delivers fewer ' +
      'at a time, as with large messages.',
    permission: 'use queue-pull',
    takesDeadLetters: true,
    success: {
      status: 200,
      description: 'The messages; an empty array where there were none.',
      schema: getMessages,
      headers: DURABILITY_HEADER,
    },
    errors: ['IncorrectState'],
  })
  async get(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: getMessagesQuery }) query: z.infer<typeof getMessagesQuery>,
    @ClientGone() gone: AbortSignal,
    @RequestHold() hold: Hold,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ messages: Message[] }> {
    return tellDurability(reply, await this.gets.get(caller, queueId, query, gone, hold));
  }

  @Put(':messageReceipt')
  @Operation({
    id: 'updateMessage',
    summary: 'Changes how long a delivered message stays invisible',
    permission: 'use queue-pull',
    takesDeadLetters: true,
    success: {
      status: 200,
      description: 'The new time; the receipt stays good.',
      schema: updatedMessage,
      headers: DURABILITY_HEADER,
    },
    errors: ['UnsupportedMediaType', 'PayloadTooLarge'],
  })
  async update(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Param('messageReceipt') receipt: string,
    @Query({ schema: consumerGroupQuery }) { consumerGroupId }: z.infer<typeof consumerGroupQuery>,
    @Body({ schema: updateMessageDetails }) { visibilityInSeconds }: z.infer<typeof updateMessageDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<UpdatedMessage> {
    return tellDurability(
      reply,
      await this.deliveries.update(caller, queueId, consumerGroupId, { receipt, visibilityInSeconds }),
    );
  }

  @Delete(':messageReceipt')
  @Operation({
    id: 'deleteMessage',
    summary: 'Deletes a delivered message',
    permission: 'use queue-pull',
    takesDeadLetters: true,
    success: { status: 204, description: 'The message is gone for good.', headers: DURABILITY_HEADER },
  })
  async delete(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Param('messageReceipt') receipt: string,
    @Query({ schema: consumerGroupQuery }) { consumerGroupId }: z.infer<typeof consumerGroupQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    return tellDurability(reply, await this.deliveries.delete(caller, queueId, consumerGroupId, receipt));
  }

  @Post('actions/updateMessages')
  @Operation({
    id: 'updateMessages',
    summary: 'Changes how long delivered messages stay invisible',
    description: 'Each entry succeeds or fails for itself.',
    permission: 'use queue-pull',
    takesDeadLetters: true,
    success: {
      status: 200,
      description: 'A result per entry, in order.',
      schema: updateMessagesResult,
      headers: DURABILITY_HEADER,
    },
    errors: ['UnsupportedMediaType', 'PayloadTooLarge'],
  })
  async updateMany(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: consumerGroupQuery }) { consumerGroupId }: z.infer<typeof consumerGroupQuery>,
    @Body({ schema: updateMessagesDetails }) { entries }: z.infer<typeof updateMessagesDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<UpdateMessagesResult> {
    return tellDurability(reply, await this.deliveries.updateMany(caller, queueId, consumerGroupId, entries));
  }

  @Post('actions/deleteMessages')
  @Operation({
    id: 'deleteMessages',
    summary: 'Deletes delivered messages',
    description: 'Each entry succeeds or fails for itself.',
    permission: 'use queue-pull',
    takesDeadLetters: true,
    success: {
      status: 200,
      description: 'A result per entry, in order.',
      schema: deleteMessagesResult,
      headers: DURABILITY_HEADER,
    },
    errors: ['UnsupportedMediaType', 'PayloadTooLarge'],
  })
  async deleteMany(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: consumerGroupQuery }) { consumerGroupId }: z.infer<typeof consumerGroupQuery>,
    @Body({ schema: deleteMessagesDetails }) { entries }: z.infer<typeof deleteMessagesDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeleteMessagesResult> {
    const receipts = entries.map(({ receipt }) => receipt);
    return tellDurability(reply, await this.deliveries.deleteMany(caller, queueId, consumerGroupId, receipts));
  }
}
