import { Body, Controller, Delete, Get, Headers, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, IF_MATCH_HEADER, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  accessExplanation,
  createPolicyDetails,
  explainAccessDetails,
  listPoliciesQuery,
  policy,
  policyCollection,
  updatePolicyDetails,
  type AccessExplanation,
  type PolicyBody,
  type PolicyCollection,
} from './policy.schemas.js';
import { PoliciesService } from './policies.service.js';

const ETAG = { etag: 'The version, for if-match.' };
const HOLDS = 'It holds on every pod within two seconds, as a rule at once.';

@ApiTags('policies')
@Controller(`${API_VERSION}/policies`)
export class PoliciesController {
  constructor(private readonly policies: PoliciesService) {}

  @Post()
  @Operation({
    id: 'createPolicy',
    summary: 'Creates a policy',
    description: `${HOLDS} A statement that cannot be read is answered with the place in it.`,
    permission: 'manage policies',
    success: { status: 200, description: 'The policy.', schema: policy, headers: ETAG },
    errors: ['LimitExceeded', 'PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async create(
    @CurrentCaller() caller: Caller,
    @Body({ schema: createPolicyDetails }) details: z.infer<typeof createPolicyDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PolicyBody> {
    const { body, etag } = await this.policies.create(caller, details);
    void reply.header('etag', etag);
    return body;
  }

  @Get(':policyId')
  @Operation({
    id: 'getPolicy',
    summary: 'Reads a policy',
    permission: 'read policies',
    success: { status: 200, description: 'The policy.', schema: policy, headers: ETAG },
    isExtension: true,
  })
  async get(
    @CurrentCaller() caller: Caller,
    @Param('policyId') policyId: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PolicyBody> {
    const { body, etag } = await this.policies.get(caller, policyId);
    void reply.header('etag', etag);
    return body;
  }

  @Get()
  @Operation({
    id: 'listPolicies',
    summary: 'Lists policies by name',
    permission: 'inspect policies',
    success: { status: 200, description: 'A page.', schema: policyCollection, headers: NEXT_PAGE_HEADER },
    isExtension: true,
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listPoliciesQuery }) query: z.infer<typeof listPoliciesQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PolicyCollection> {
    const { body, nextPage } = await this.policies.list(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Put(':policyId')
  @Operation({
    id: 'updatePolicy',
    summary: 'Changes a policy',
    description: `${HOLDS} The policy of the group Administrators cannot be changed.`,
    permission: 'manage policies',
    success: { status: 200, description: 'The policy as it is now.', schema: policy, headers: ETAG },
    errors: ['IncorrectState', 'NoEtagMatch', 'PayloadTooLarge', 'UnsupportedMediaType'],
    headers: IF_MATCH_HEADER,
    isExtension: true,
  })
  async update(
    @CurrentCaller() caller: Caller,
    @Param('policyId') policyId: string,
    @Body({ schema: updatePolicyDetails }) changes: z.infer<typeof updatePolicyDetails>,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PolicyBody> {
    const { body, etag } = await this.policies.update(caller, policyId, changes, ifMatch);
    void reply.header('etag', etag);
    return body;
  }

  @Delete(':policyId')
  @Operation({
    id: 'deletePolicy',
    summary: 'Deletes a policy',
    description: `${HOLDS} The policy of the group Administrators cannot be deleted.`,
    permission: 'manage policies',
    success: { status: 204, description: 'It is gone. No body.' },
    errors: ['IncorrectState', 'NoEtagMatch'],
    headers: IF_MATCH_HEADER,
    isExtension: true,
  })
  delete(
    @CurrentCaller() caller: Caller,
    @Param('policyId') policyId: string,
    @Headers('if-match') ifMatch: string | undefined,
  ): Promise<void> {
    return this.policies.delete(caller, policyId, ifMatch);
  }

  @Post('actions/explain')
  @Operation({
    id: 'explainAccess',
    summary: 'Says whether a user may do something, and by which statements',
    description:
      'Does nothing but say. Needs the permission in the tenancy, since the answer shows policies of every compartment.',
    permission: 'read policies',
    success: { status: 200, description: 'Whether, and why.', schema: accessExplanation },
    errors: ['PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  explain(
    @CurrentCaller() caller: Caller,
    @Body({ schema: explainAccessDetails }) details: z.infer<typeof explainAccessDetails>,
  ): Promise<AccessExplanation> {
    return this.policies.explain(caller, details);
  }
}
