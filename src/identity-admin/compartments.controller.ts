import { Body, Controller, Delete, Get, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  compartment,
  compartmentCollection,
  createCompartmentDetails,
  listCompartmentsQuery,
  updateCompartmentDetails,
  type CompartmentBody,
  type Page,
} from './identity.schemas.js';
import { IdentityService } from './identity.service.js';

@ApiTags('identity')
@Controller(`${API_VERSION}/compartments`)
export class CompartmentsController {
  constructor(private readonly identity: IdentityService) {}

  @Post()
  @Operation({
    id: 'createCompartment',
    summary: 'Creates a compartment',
    permission: 'manage identity',
    success: { status: 200, description: 'The compartment.', schema: compartment },
    errors: ['LimitExceeded', 'PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async create(
    @CurrentCaller() caller: Caller,
    @Body({ schema: createCompartmentDetails }) details: z.infer<typeof createCompartmentDetails>,
  ): Promise<CompartmentBody> {
    return this.identity.createCompartment(caller, details);
  }

  @Get(':compartmentId')
  @Operation({
    id: 'getCompartment',
    summary: 'Reads a compartment',
    permission: 'read identity',
    success: { status: 200, description: 'The compartment.', schema: compartment },
    isExtension: true,
  })
  async get(@CurrentCaller() caller: Caller, @Param('compartmentId') compartmentId: string): Promise<CompartmentBody> {
    return this.identity.getCompartment(caller, compartmentId);
  }

  @Get()
  @Operation({
    id: 'listCompartments',
    summary: 'Lists compartments by name',
    permission: 'inspect identity',
    success: { status: 200, description: 'A page.', schema: compartmentCollection, headers: NEXT_PAGE_HEADER },
    isExtension: true,
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listCompartmentsQuery }) query: z.infer<typeof listCompartmentsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Page<CompartmentBody>['body']> {
    const { body, nextPage } = await this.identity.listCompartments(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Put(':compartmentId')
  @Operation({
    id: 'updateCompartment',
    summary: 'Renames a compartment',
    description: 'The root has the name of the tenancy, and keeps it.',
    permission: 'manage identity',
    success: { status: 200, description: 'The compartment.', schema: compartment },
    errors: ['IncorrectState', 'PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async update(
    @CurrentCaller() caller: Caller,
    @Param('compartmentId') compartmentId: string,
    @Body({ schema: updateCompartmentDetails }) details: z.infer<typeof updateCompartmentDetails>,
  ): Promise<CompartmentBody> {
    return this.identity.renameCompartment(caller, compartmentId, details.name);
  }

  @Delete(':compartmentId')
  @Operation({
    id: 'deleteCompartment',
    summary: 'Deletes an empty compartment',
    description:
      'Queues and compartments in it have to be moved or deleted before. A deleted queue is in the way no more.',
    permission: 'manage identity',
    success: { status: 204, description: 'It is gone. No body.' },
    errors: ['IncorrectState'],
    isExtension: true,
  })
  async delete(@CurrentCaller() caller: Caller, @Param('compartmentId') compartmentId: string): Promise<void> {
    await this.identity.deleteCompartment(caller, compartmentId);
  }
}
