import { Body, Controller, Delete, Get, Headers, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import {
  accept,
  API_VERSION,
  IF_MATCH_HEADER,
  NEXT_PAGE_HEADER,
  Operation,
  RETRY_TOKEN_HEADER,
  WORK_REQUEST_HEADER,
} from '../rest/operation.js';
import {
  consumerGroup,
  consumerGroupCollection,
  createConsumerGroupDetails,
  listConsumerGroupsQuery,
  updateConsumerGroupDetails,
  type ConsumerGroupBody,
  type ConsumerGroupCollection,
} from './consumer-group.schemas.js';
import { ConsumerGroupsService } from './consumer-groups.service.js';

@ApiTags('consumer groups')
@Controller(`${API_VERSION}/consumerGroups`)
export class ConsumerGroupsController {
  constructor(private readonly groups: ConsumerGroupsService) {}

  @Post()
  @Operation({
    id: 'createConsumerGroup',
    summary: 'Creates a consumer group',
    description:
      'It gets what is put from now on, as far as its filter takes it, and has deliveries and dead letters of its own. ' +
      'The queue must have the capability CONSUMER_GROUPS.',
    permission: 'manage consumer-groups',
    success: { status: 202, description: 'The group is created. No body.', headers: WORK_REQUEST_HEADER },
    errors: ['InvalidatedRetryToken', 'IncorrectState', 'PayloadTooLarge', 'UnsupportedMediaType'],
    headers: RETRY_TOKEN_HEADER,
  })
  async create(
    @CurrentCaller() caller: Caller,
    @Body({ schema: createConsumerGroupDetails }) details: z.infer<typeof createConsumerGroupDetails>,
    @Headers('opc-retry-token') retryToken: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.groups.create(caller, details, retryToken));
  }

  @Get(':consumerGroupId')
  @Operation({
    id: 'getConsumerGroup',
    summary: 'Reads a consumer group',
    permission: 'read consumer-groups',
    success: {
      status: 200,
      description: 'The consumer group.',
      schema: consumerGroup,
      headers: { etag: 'The version, for if-match.' },
    },
  })
  async get(
    @CurrentCaller() caller: Caller,
    @Param('consumerGroupId') consumerGroupId: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ConsumerGroupBody> {
    const { body, etag } = await this.groups.get(caller, consumerGroupId);
    void reply.header('etag', etag);
    return body;
  }

  @Get()
  @Operation({
    id: 'listConsumerGroups',
    summary: 'Lists consumer groups',
    permission: 'inspect consumer-groups',
    success: { status: 200, description: 'A page.', schema: consumerGroupCollection, headers: NEXT_PAGE_HEADER },
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listConsumerGroupsQuery }) query: z.infer<typeof listConsumerGroupsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ConsumerGroupCollection> {
    const { body, nextPage } = await this.groups.list(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Put(':consumerGroupId')
  @Operation({
    id: 'updateConsumerGroup',
    summary: 'Changes a consumer group',
    description: 'A changed filter holds for what is put from now on.',
    permission: 'use consumer-groups',
    success: { status: 202, description: 'The group is changed. No body.', headers: WORK_REQUEST_HEADER },
    errors: ['IncorrectState', 'NoEtagMatch', 'PayloadTooLarge', 'UnsupportedMediaType'],
    headers: IF_MATCH_HEADER,
  })
  async update(
    @CurrentCaller() caller: Caller,
    @Param('consumerGroupId') consumerGroupId: string,
    @Body({ schema: updateConsumerGroupDetails }) changes: z.infer<typeof updateConsumerGroupDetails>,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.groups.update(caller, consumerGroupId, changes, ifMatch));
  }

  @Delete(':consumerGroupId')
  @Operation({
    id: 'deleteConsumerGroup',
    summary: 'Deletes a consumer group with its messages',
    description: 'Other groups keep theirs. The primary group cannot be deleted, only disabled.',
    permission: 'manage consumer-groups',
    success: { status: 202, description: 'The deletion has begun. No body.', headers: WORK_REQUEST_HEADER },
    errors: ['IncorrectState', 'NoEtagMatch'],
    headers: IF_MATCH_HEADER,
  })
  async delete(
    @CurrentCaller() caller: Caller,
    @Param('consumerGroupId') consumerGroupId: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.groups.delete(caller, consumerGroupId, ifMatch));
  }
}
