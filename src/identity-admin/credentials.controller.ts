import { Body, Controller, Delete, Get, Param, Post, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { API_VERSION, Operation, SECRET_HEADER } from '../rest/operation.js';
import {
  apiKeyCollection,
  authTokenCollection,
  createApiKeyDetails,
  createAuthTokenDetails,
  createSigningKeyDetails,
  newApiKey,
  newAuthToken,
  signingKey,
  signingKeyCollection,
  type ApiKeyBody,
  type AuthTokenBody,
  type NewApiKeyBody,
  type NewAuthTokenBody,
  type SigningKeyBody,
} from './credential.schemas.js';
import { CredentialsService } from './credentials.service.js';

@ApiTags('identity')
@Controller(`${API_VERSION}/users/:userId`)
export class CredentialsController {
  constructor(private readonly credentials: CredentialsService) {}

  @Post('signingKeys')
  @Operation({
    id: 'createSigningKey',
    summary: 'Lets a user sign requests with one more key',
    permission: 'manage identity',
    allowsOwnUser: true,
    success: { status: 200, description: 'The key, with its fingerprint.', schema: signingKey },
    errors: ['LimitExceeded', 'PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async createSigningKey(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
    @Body({ schema: createSigningKeyDetails }) details: z.infer<typeof createSigningKeyDetails>,
  ): Promise<SigningKeyBody> {
    return this.credentials.createSigningKey(caller, userId, details);
  }

  @Get('signingKeys')
  @Operation({
    id: 'listSigningKeys',
    summary: 'Lists the signing keys of a user',
    permission: 'read identity',
    allowsOwnUser: true,
    success: { status: 200, description: 'All of them, the oldest first.', schema: signingKeyCollection },
    isExtension: true,
  })
  async listSigningKeys(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
  ): Promise<{ items: SigningKeyBody[] }> {
    return this.credentials.listSigningKeys(caller, userId);
  }

  @Delete('signingKeys/:fingerprint')
  @Operation({
    id: 'deleteSigningKey',
    summary: 'Revokes a signing key',
    description:
      'It stops working within two seconds, on all pods. The last way in of the administrators cannot be deleted.',
    permission: 'manage identity',
    allowsOwnUser: true,
    success: { status: 204, description: 'It is revoked. No body.' },
    errors: ['IncorrectState'],
    isExtension: true,
  })
  async deleteSigningKey(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
    @Param('fingerprint') fingerprint: string,
  ): Promise<void> {
    await this.credentials.deleteSigningKey(caller, userId, fingerprint);
  }

  @Post('apiKeys')
  @Operation({
    id: 'createApiKey',
    summary: 'Makes an API key for a user',
    permission: 'manage identity',
    allowsOwnUser: true,
    success: { status: 200, description: 'The key. It is shown this once.', schema: newApiKey, headers: SECRET_HEADER },
    errors: ['LimitExceeded', 'PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async createApiKey(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
    @Body({ schema: createApiKeyDetails }) details: z.infer<typeof createApiKeyDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<NewApiKeyBody> {
    const made = await this.credentials.createApiKey(caller, userId, details);
    void reply.header('cache-control', 'no-store');
    return made;
  }

  @Get('apiKeys')
  @Operation({
    id: 'listApiKeys',
    summary: 'Lists the API keys of a user',
    permission: 'read identity',
    allowsOwnUser: true,
    success: {
      status: 200,
      description: 'All of them, the oldest first, without the keys themselves.',
      schema: apiKeyCollection,
    },
    isExtension: true,
  })
  async listApiKeys(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
  ): Promise<{ items: ApiKeyBody[] }> {
    return this.credentials.listApiKeys(caller, userId);
  }

  @Delete('apiKeys/:apiKeyId')
  @Operation({
    id: 'deleteApiKey',
    summary: 'Revokes an API key',
    description:
      'It stops working within two seconds, on all pods. The last way in of the administrators cannot be deleted.',
    permission: 'manage identity',
    allowsOwnUser: true,
    success: { status: 204, description: 'It is revoked. No body.' },
    errors: ['IncorrectState'],
    isExtension: true,
  })
  async deleteApiKey(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
    @Param('apiKeyId') apiKeyId: string,
  ): Promise<void> {
    await this.credentials.deleteApiKey(caller, userId, apiKeyId);
  }

  @Post('authTokens')
  @Operation({
    id: 'createAuthToken',
    summary: 'Makes an auth token for a user, to log in to STOMP with',
    permission: 'manage identity',
    allowsOwnUser: true,
    success: {
      status: 200,
      description: 'The token. It is shown this once.',
      schema: newAuthToken,
      headers: SECRET_HEADER,
    },
    errors: ['LimitExceeded', 'PayloadTooLarge', 'UnsupportedMediaType'],
    isExtension: true,
  })
  async createAuthToken(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
    @Body({ schema: createAuthTokenDetails }) details: z.infer<typeof createAuthTokenDetails>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<NewAuthTokenBody> {
    const made = await this.credentials.createAuthToken(caller, userId, details);
    void reply.header('cache-control', 'no-store');
    return made;
  }

  @Get('authTokens')
  @Operation({
    id: 'listAuthTokens',
    summary: 'Lists the auth tokens of a user',
    permission: 'read identity',
    allowsOwnUser: true,
    success: {
      status: 200,
      description: 'All of them, the oldest first, without the tokens themselves.',
      schema: authTokenCollection,
    },
    isExtension: true,
  })
  async listAuthTokens(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
  ): Promise<{ items: AuthTokenBody[] }> {
    return this.credentials.listAuthTokens(caller, userId);
  }

  @Delete('authTokens/:authTokenId')
  @Operation({
    id: 'deleteAuthToken',
    summary: 'Revokes an auth token',
    description: 'It stops working within two seconds, on all pods.',
    permission: 'manage identity',
    allowsOwnUser: true,
    success: { status: 204, description: 'It is revoked. No body.' },
    isExtension: true,
  })
  async deleteAuthToken(
    @CurrentCaller() caller: Caller,
    @Param('userId') userId: string,
    @Param('authTokenId') authTokenId: string,
  ): Promise<void> {
    await this.credentials.deleteAuthToken(caller, userId, authTokenId);
  }
}
