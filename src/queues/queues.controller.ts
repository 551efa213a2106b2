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
  changeQueueCompartmentDetails,
  createQueueDetails,
  listQueuesQuery,
  purgeQueueDetails,
  queue,
  queueCollection,
  updateQueueDetails,
  type QueueBody,
  type QueueCollection,
} from './queue.schemas.js';
import { QueuesService } from './queues.service.js';

const accepted = (description: string): { status: 202; description: string; headers: Record<string, string> } => ({
  status: 202,
  description: `${description} No body.`,
  headers: WORK_REQUEST_HEADER,
});

@ApiTags('queues')
@Controller(`${API_VERSION}/queues`)
export class QueuesController {
  constructor(private readonly queues: QueuesService) {}

  @Post()
  @Operation({
    id: 'createQueue',
    summary: 'Creates a queue',
    description: 'The OCID of the new queue is the identifier of the resource of the work request.',
    permission: 'manage queues',
    success: accepted('The queue is created.'),
    errors: ['InvalidatedRetryToken', 'LimitExceeded', 'UnsupportedMediaType', 'PayloadTooLarge'],
    headers: RETRY_TOKEN_HEADER,
  })
  async create(
    @CurrentCaller() caller: Caller,
    @Body({ schema: createQueueDetails }) details: z.infer<typeof createQueueDetails>,
    @Headers('opc-retry-token') retryToken: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.queues.create(caller, details, retryToken));
  }

  @Get(':queueId')
  @Operation({
    id: 'getQueue',
    summary: 'Reads a queue',
    description: 'A deleted queue is readable for an hour, in the state DELETED.',
    permission: 'read queues',
    success: { status: 200, description: 'The queue.', schema: queue, headers: { etag: 'The version, for if-match.' } },
  })
  async get(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<QueueBody> {
    const { body, etag } = await this.queues.get(caller, queueId);
    void reply.header('etag', etag);
    return body;
  }

  @Get()
  @Operation({
    id: 'listQueues',
    summary: 'Lists queues',
    permission: 'inspect queues',
    success: { status: 200, description: 'A page of queues.', schema: queueCollection, headers: NEXT_PAGE_HEADER },
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listQueuesQuery }) query: z.infer<typeof listQueuesQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<QueueCollection> {
    const { body, nextPage } = await this.queues.list(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Put(':queueId')
  @Operation({
    id: 'updateQueue',
    summary: 'Changes settings of a queue',
    description: 'They hold from the next put or get on; the retention cannot be changed.',
    permission: 'use queues',
    success: accepted('The queue is changed.'),
    errors: ['IncorrectState', 'NoEtagMatch', 'UnsupportedMediaType', 'PayloadTooLarge'],
    headers: IF_MATCH_HEADER,
  })
  async update(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Body({ schema: updateQueueDetails }) changes: z.infer<typeof updateQueueDetails>,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.queues.update(caller, queueId, changes, ifMatch));
  }

  @Delete(':queueId')
  @Operation({
    id: 'deleteQueue',
    summary: 'Deletes a queue with all its messages',
    permission: 'manage queues',
    success: accepted('The deletion has begun.'),
    errors: ['IncorrectState', 'NoEtagMatch'],
    headers: IF_MATCH_HEADER,
  })
  async delete(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.queues.delete(caller, queueId, ifMatch));
  }

  @Post(':queueId/actions/changeCompartment')
  @Operation({
    id: 'changeQueueCompartment',
    summary: 'Moves a queue to another compartment of the tenancy',
    permission: 'manage queues',
    success: accepted('The queue is moved.'),
    errors: ['IncorrectState', 'NoEtagMatch', 'UnsupportedMediaType', 'PayloadTooLarge'],
    headers: IF_MATCH_HEADER,
  })
  async changeCompartment(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Body({ schema: changeQueueCompartmentDetails }) details: z.infer<typeof changeQueueCompartmentDetails>,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.queues.changeCompartment(caller, queueId, details.compartmentId, ifMatch));
  }

  @Post(':queueId/actions/purge')
  @Operation({
    id: 'purgeQueue',
    summary: 'Deletes all messages of a queue, of its dead letter queue, or of some channels',
    description:
      'What was put before is invisible and not counted from now on, and deleted by and by; receipts given out ' +
      'before stay good until then. One purge at a time per queue.',
    permission: 'use queues',
    success: accepted('The purge has begun.'),
    errors: ['IncorrectState', 'NoEtagMatch', 'UnsupportedMediaType', 'PayloadTooLarge'],
    headers: IF_MATCH_HEADER,
  })
  async purge(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Body({ schema: purgeQueueDetails }) details: z.infer<typeof purgeQueueDetails>,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.queues.purge(caller, queueId, details, ifMatch));
  }

  @Post(':queueId/actions/rotateDataKey')
  @Operation({
    id: 'rotateDataKey',
    summary: 'Replaces the data key of a queue',
    description:
      'Towpath extension. From now on nothing is sealed with the key that was in force; the next put makes another one. ' +
      'What was sealed stays readable: keys are kept until no message needs them. They are also replaced by age.',
    permission: 'manage queues',
    isExtension: true,
    success: accepted('The key is retired.'),
    errors: ['IncorrectState', 'NoEtagMatch'],
    headers: IF_MATCH_HEADER,
  })
  async rotateDataKey(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.queues.rotateDataKey(caller, queueId, ifMatch));
  }
}
