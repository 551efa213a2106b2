import { Controller, Delete, Get, Param, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  listWorkRequestsQuery,
  pageQuery,
  workRequest,
  workRequestCollection,
  workRequestErrorCollection,
  workRequestLogCollection,
  type WorkRequestBody,
} from './work-request.schemas.js';
import { WorkRequestsService, type Page } from './work-requests.service.js';

/** How long a client should wait before it asks again, in seconds: most work requests are done at once. */
const RETRY_AFTER_SECONDS = '0.5';

@ApiTags('work requests')
@Controller(`${API_VERSION}/workRequests`)
export class WorkRequestsController {
  constructor(private readonly workRequests: WorkRequestsService) {}

  @Get(':workRequestId')
  @Operation({
    id: 'getWorkRequest',
    summary: 'Tells how far a work request is',
    description: 'Work requests are kept for 7 days after they finished.',
    permission: 'read queues',
    success: {
      status: 200,
      description: 'The work request.',
      schema: workRequest,
      headers: { 'retry-after': 'After how many seconds to ask again.' },
    },
  })
  get(
    @CurrentCaller() caller: Caller,
    @Param('workRequestId') workRequestId: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<WorkRequestBody> {
    void reply.header('retry-after', RETRY_AFTER_SECONDS);
    return this.workRequests.get(caller, workRequestId);
  }

  @Get()
  @Operation({
    id: 'listWorkRequests',
    summary: 'Lists work requests, newest first',
    permission: 'inspect queues',
    success: { status: 200, description: 'A page.', schema: workRequestCollection, headers: NEXT_PAGE_HEADER },
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listWorkRequestsQuery }) query: z.infer<typeof listWorkRequestsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ items: WorkRequestBody[] }> {
    return paged(reply, await this.workRequests.list(caller, query));
  }

  @Delete(':workRequestId')
  @Operation({
    id: 'cancelWorkRequest',
    summary: 'Cancels a redrive of dead letters',
    description:
      'It is CANCELING, and CANCELED after the batch that is under way. What was redriven stays redriven. Other work ' +
      'requests, and finished ones, cannot be canceled.',
    permission: 'use queues',
    isExtension: true,
    success: { status: 202, description: 'The redrive ends. No body.' },
    errors: ['IncorrectState'],
  })
  cancel(@CurrentCaller() caller: Caller, @Param('workRequestId') workRequestId: string): Promise<void> {
    return this.workRequests.cancel(caller, workRequestId);
  }

  @Get(':workRequestId/errors')
  @Operation({
    id: 'listWorkRequestErrors',
    summary: 'Tells why a work request failed',
    permission: 'read queues',
    success: { status: 200, description: 'A page.', schema: workRequestErrorCollection, headers: NEXT_PAGE_HEADER },
  })
  async errors(
    @CurrentCaller() caller: Caller,
    @Param('workRequestId') workRequestId: string,
    @Query({ schema: pageQuery }) query: z.infer<typeof pageQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof workRequestErrorCollection>> {
    return paged(reply, await this.workRequests.errors(caller, workRequestId, query));
  }

  @Get(':workRequestId/logs')
  @Operation({
    id: 'listWorkRequestLogs',
    summary: 'Tells what a work request did',
    permission: 'read queues',
    success: { status: 200, description: 'A page.', schema: workRequestLogCollection, headers: NEXT_PAGE_HEADER },
  })
  async logs(
    @CurrentCaller() caller: Caller,
    @Param('workRequestId') workRequestId: string,
    @Query({ schema: pageQuery }) query: z.infer<typeof pageQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof workRequestLogCollection>> {
    return paged(reply, await this.workRequests.logs(caller, workRequestId, query));
  }
}

function paged<Item>(reply: FastifyReply, page: Page<Item>): { items: Item[] } {
  if (page.nextPage !== null) void reply.header('opc-next-page', page.nextPage);
  return { items: page.items };
}
