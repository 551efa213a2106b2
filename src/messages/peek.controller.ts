import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import { peekedMessages, peekMessagesQuery, type PeekedMessage } from './peek.schemas.js';
import { PeekService } from './peek.service.js';

@ApiTags('messages')
@Controller(`${API_VERSION}/queues/:queueId/messages/actions`)
export class PeekController {
  constructor(private readonly peeks: PeekService) {}

  @Get('peekMessages')
  @Operation({
    id: 'peekMessages',
    summary: 'Looks at messages without delivering them',
    description:
      'Towpath extension. No delivery is counted, nothing becomes invisible, no consumer waits. Shows visible, in-flight and ' +
      'delayed messages in the order of their ids. One answer examines 1,000 messages at most: it may be empty and have ' +
      'an opc-next-page all the same.',
    permission: 'use queue-pull',
    takesDeadLetters: true,
    isExtension: true,
    success: { status: 200, description: 'A page.', schema: peekedMessages, headers: NEXT_PAGE_HEADER },
    errors: ['IncorrectState'],
  })
  async peek(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: peekMessagesQuery }) query: z.infer<typeof peekMessagesQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ messages: readonly PeekedMessage[] }> {
    const { messages, nextPage } = await this.peeks.peek(caller, queueId, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return { messages };
  }
}
