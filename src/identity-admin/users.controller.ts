import { Body, Controller, Delete, Get, Param, Post, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  createUserDetails,
  listUsersQuery,
  user,
  userCollection,
  type Page,
  type UserBody,
} from './identity.schemas.js';
import { IdentityService } from './identity.service.js';

@ApiTags('identity')
@Controller(`${API_VERSION}/users`)
export class UsersController {
  constructor(private readonly identity: IdentityService) {}

  @Post()
  @Operation({
    id: 'createUser',
    summary: 'Creates a user',
    description: 'It has no credentials yet, and is in no group.',
    permission: 'manage identity',
    success: { status: 200, description: 'The user.', schema: user },
    errors: ['PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async create(
    @CurrentCaller() caller: Caller,
    @Body({ schema: createUserDetails }) details: z.infer<typeof createUserDetails>,
  ): Promise<UserBody> {
    return this.identity.createUser(caller, details.name);
  }

  @Get(':userId')
  @Operation({
    id: 'getUser',
    summary: 'Reads a user',
    permission: 'read identity',
    allowsOwnUser: true,
    success: { status: 200, description: 'The user.', schema: user },
    isExtension: true,
  })
  async get(@CurrentCaller() caller: Caller, @Param('userId') userId: string): Promise<UserBody> {
    return this.identity.getUser(caller, userId);
  }

  @Get()
  @Operation({
    id: 'listUsers',
    summary: 'Lists users by name',
    permission: 'inspect identity',
    success: { status: 200, description: 'A page.', schema: userCollection, headers: NEXT_PAGE_HEADER },
    isExtension: true,
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listUsersQuery }) query: z.infer<typeof listUsersQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Page<UserBody>['body']> {
    const { body, nextPage } = await this.identity.listUsers(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Delete(':userId')
  @Operation({
    id: 'deleteUser',
    summary: 'Deletes a user with its credentials and memberships',
    description:
      'Its credentials stop working within two seconds. The last administrator who can sign in cannot be deleted.',
    permission: 'manage identity',
    success: { status: 204, description: 'It is gone. No body.' },
    errors: ['IncorrectState'],
    isExtension: true,
  })
  async delete(@CurrentCaller() caller: Caller, @Param('userId') userId: string): Promise<void> {
    await this.identity.deleteUser(caller, userId);
  }
}
