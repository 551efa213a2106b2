import { Body, Controller, Delete, Get, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  createGroupDetails,
  group,
  groupCollection,
  groupMemberCollection,
  listGroupMembersQuery,
  listGroupsQuery,
  type GroupBody,
  type GroupMemberBody,
  type Page,
} from './identity.schemas.js';
import { IdentityService } from './identity.service.js';

@ApiTags('identity')
@Controller(`${API_VERSION}/groups`)
export class GroupsController {
  constructor(private readonly identity: IdentityService) {}

  @Post()
  @Operation({
    id: 'createGroup',
    summary: 'Creates a group of users',
    description: 'Nobody is in it yet.',
    permission: 'manage identity',
    success: { status: 200, description: 'The group.', schema: group },
    errors: ['PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async create(
    @CurrentCaller() caller: Caller,
    @Body({ schema: createGroupDetails }) details: z.infer<typeof createGroupDetails>,
  ): Promise<GroupBody> {
    return this.identity.createGroup(caller, details.name);
  }

  @Get(':groupId')
  @Operation({
    id: 'getGroup',
    summary: 'Reads a group',
    permission: 'read identity',
    success: { status: 200, description: 'The group.', schema: group },
    isExtension: true,
  })
  async get(@CurrentCaller() caller: Caller, @Param('groupId') groupId: string): Promise<GroupBody> {
    return this.identity.getGroup(caller, groupId);
  }

  @Get()
  @Operation({
    id: 'listGroups',
    summary: 'Lists groups by name',
    permission: 'inspect identity',
    success: { status: 200, description: 'A page.', schema: groupCollection, headers: NEXT_PAGE_HEADER },
    isExtension: true,
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listGroupsQuery }) query: z.infer<typeof listGroupsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Page<GroupBody>['body']> {
    const { body, nextPage } = await this.identity.listGroups(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Delete(':groupId')
  @Operation({
    id: 'deleteGroup',
    summary: 'Deletes a group',
    description: 'The group Administrators cannot be deleted.',
    permission: 'manage identity',
    success: { status: 204, description: 'It is gone; its members stay users. No body.' },
    errors: ['IncorrectState'],
    isExtension: true,
  })
  async delete(@CurrentCaller() caller: Caller, @Param('groupId') groupId: string): Promise<void> {
    await this.identity.deleteGroup(caller, groupId);
  }

  @Get(':groupId/members')
  @Operation({
    id: 'listGroupMembers',
    summary: 'Lists who is in a group',
    permission: 'read identity',
    success: { status: 200, description: 'A page.', schema: groupMemberCollection, headers: NEXT_PAGE_HEADER },
    isExtension: true,
  })
  async listMembers(
    @CurrentCaller() caller: Caller,
    @Param('groupId') groupId: string,
    @Query({ schema: listGroupMembersQuery }) query: z.infer<typeof listGroupMembersQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Page<GroupMemberBody>['body']> {
    const { body, nextPage } = await this.identity.listGroupMembers(caller, groupId, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Put(':groupId/members/:userId')
  @Operation({
    id: 'addGroupMember',
    summary: 'Puts a user into a group',
    permission: 'manage identity',
    success: { status: 204, description: 'The user is in the group, if it was not already. No body.' },
    isExtension: true,
  })
  async addMember(
    @CurrentCaller() caller: Caller,
    @Param('groupId') groupId: string,
    @Param('userId') userId: string,
  ): Promise<void> {
    await this.identity.addGroupMember(caller, groupId, userId);
  }

  @Delete(':groupId/members/:userId')
  @Operation({
    id: 'removeGroupMember',
    summary: 'Takes a user out of a group',
    description: 'The last administrator who can sign in stays in the group Administrators.',
    permission: 'manage identity',
    success: { status: 204, description: 'The user is in the group no more. No body.' },
    errors: ['IncorrectState'],
    isExtension: true,
  })
  async removeMember(
    @CurrentCaller() caller: Caller,
    @Param('groupId') groupId: string,
    @Param('userId') userId: string,
  ): Promise<void> {
    await this.identity.removeGroupMember(caller, groupId, userId);
  }
}
