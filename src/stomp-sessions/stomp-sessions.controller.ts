import { Body, Controller, Get, Param, Post, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  disconnectStompSessionDetails,
  disconnectStompSessionResult,
  listStompSessionsQuery,
  stompSession,
  stompSessionCollection,
  type DisconnectStompSessionResult,
  type StompSessionBody,
  type StompSessionCollection,
} from './stomp-session.schemas.js';
import { StompSessionsService } from './stomp-sessions.service.js';

@ApiTags('STOMP sessions')
@Controller(`${API_VERSION}/stompSessions`)
export class StompSessionsController {
  constructor(private readonly sessions: StompSessionsService) {}

  @Get()
  @Operation({
    id: 'listStompSessions',
    summary: 'Lists the STOMP connections of the tenancy on all pods, newest first',
    description:
      'Towpath extension. Those that have logged in, as their pods have reported them: up to 12 seconds ago, and who has ' +
      'come or gone up to 2 seconds. Those of a pod that died are shown for 15 seconds.',
    permission: 'inspect stomp-sessions',
    isExtension: true,
    success: { status: 200, description: 'A page.', schema: stompSessionCollection, headers: NEXT_PAGE_HEADER },
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listStompSessionsQuery }) query: z.infer<typeof listStompSessionsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<StompSessionCollection> {
    const { body, nextPage } = await this.sessions.list(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Get(':stompSessionId')
  @Operation({
    id: 'getStompSession',
    summary: 'Tells of a STOMP connection with its subscriptions',
    description: 'Towpath extension. As its pod has reported it, up to 12 seconds ago.',
    permission: 'read stomp-sessions',
    isExtension: true,
    success: { status: 200, description: 'The session.', schema: stompSession },
  })
  get(@CurrentCaller() caller: Caller, @Param('stompSessionId') stompSessionId: string): Promise<StompSessionBody> {
    return this.sessions.get(caller, stompSessionId);
  }

  @Post(':stompSessionId/actions/disconnect')
  @Operation({
    id: 'disconnectStompSession',
    summary: 'Ends a STOMP connection, on whatever pod it is',
    description:
      'Towpath extension. What was read of it is carried out, for up to 2 seconds; what it holds is visible to others at ' +
      'once; its client gets an ERROR frame with the reason. Nothing keeps the client from connecting again: revoke its ' +
      'auth token for that.',
    permission: 'use stomp-sessions',
    isExtension: true,
    success: { status: 200, description: 'Whether it has ended.', schema: disconnectStompSessionResult },
    errors: ['UnsupportedMediaType', 'PayloadTooLarge'],
  })
  disconnect(
    @CurrentCaller() caller: Caller,
    @Param('stompSessionId') stompSessionId: string,
    @Body({ schema: disconnectStompSessionDetails }) details: z.infer<typeof disconnectStompSessionDetails>,
  ): Promise<DisconnectStompSessionResult> {
    return this.sessions.disconnect(caller, stompSessionId, details);
  }
}
