import { Injectable } from '@nestjs/common';
import {
  IdentityAdminFunctions,
  type CredentialDetails,
  type ManagedApiKeyRow,
  type ManagedAuthTokenRow,
  type ManagedCredentialRow,
  type ManagedSigningKeyRow,
} from '../database/identity-admin-functions.js';
import { makeApiKey, makeAuthToken } from '../identity/api-key.js';
import type { Caller } from '../identity/caller.js';
import { fingerprintOf } from '../identity/first-identity.js';
import type {
  ApiKeyBody,
  AuthTokenBody,
  NewApiKeyBody,
  NewAuthTokenBody,
  SigningKeyBody,
} from './credential.schemas.js';
import { existing } from './identity.service.js';
import { readPublicKey } from './public-key.js';

/**
 * What users of the caller's tenancy sign in with. Every method throws NotAuthorizedOrNotFound where there is no such user
 * or credential; those that delete, but for auth tokens, IncorrectState for the last way in of the administrators; those that create
 * InvalidParameter for what has expired already, and LimitExceeded for too many. All pods hear of what is deleted at its
 * commit, from triggers in the database (`Revocations`).
 */
@Injectable()
export class CredentialsService {
  constructor(private readonly functions: IdentityAdminFunctions) {}

  /** Throws InvalidParameter for a key that is no good, or that the user has already. */
  async createSigningKey(
    caller: Caller,
    user: string,
    details: CredentialDetails & { readonly publicKey: string },
  ): Promise<SigningKeyBody> {
    const userId = existing('user', user);
    const key = readPublicKey(details.publicKey);
    const publicKey = key.export({ type: 'spki', format: 'pem' }).toString();
    const uploaded = { fingerprint: fingerprintOf(key), publicKey };
    return toSigningKey(await this.functions.createSigningKey(caller, userId, uploaded, details));
  }

  async listSigningKeys({ tenancyId }: Caller, user: string): Promise<{ items: SigningKeyBody[] }> {
    const rows = await this.functions.listSigningKeys(tenancyId, existing('user', user));
    return { items: rows.map(toSigningKey) };
  }

  async deleteSigningKey(caller: Caller, user: string, fingerprint: string): Promise<void> {
    const userId = existing('user', user);
    await this.functions.deleteSigningKey(caller, userId, existing('signing key', fingerprint));
  }

  /** The only answer that ever has the key. */
  async createApiKey(caller: Caller, user: string, details: CredentialDetails): Promise<NewApiKeyBody> {
    const made = makeApiKey();
    const row = await this.functions.createApiKey(caller, existing('user', user), made, details);
    return { ...toApiKey(row), key: made.key };
  }

  async listApiKeys({ tenancyId }: Caller, user: string): Promise<{ items: ApiKeyBody[] }> {
    const rows = await this.functions.listApiKeys(tenancyId, existing('user', user));
    return { items: rows.map(toApiKey) };
  }

  async deleteApiKey(caller: Caller, user: string, id: string): Promise<void> {
    await this.functions.deleteApiKey(caller, existing('user', user), existing('API key', id));
  }

  /** The only answer that ever has the token. */
  async createAuthToken(caller: Caller, user: string, details: CredentialDetails): Promise<NewAuthTokenBody> {
    const made = makeAuthToken();
    const row = await this.functions.createAuthToken(caller, existing('user', user), made.digest, details);
    return { ...toAuthToken(row), token: made.token, stompLogin: row.login, stompPasscode: made.passcode };
  }

  async listAuthTokens({ tenancyId }: Caller, user: string): Promise<{ items: AuthTokenBody[] }> {
    const rows = await this.functions.listAuthTokens(tenancyId, existing('user', user));
    return { items: rows.map(toAuthToken) };
  }

  async deleteAuthToken(caller: Caller, user: string, id: string): Promise<void> {
    await this.functions.deleteAuthToken(caller, existing('user', user), existing('auth token', id));
  }
}

type Common = Pick<ApiKeyBody, 'userId' | 'description' | 'timeCreated' | 'expiresAt' | 'lastUsedAt'>;

function toCommon(row: ManagedCredentialRow): Common {
  return {
    userId: row.user_id,
    ...(row.description === null ? {} : { description: row.description }),
    timeCreated: row.time_created.toISOString(),
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at.toISOString() }),
    ...(row.last_used_at === null ? {} : { lastUsedAt: row.last_used_at.toISOString() }),
  };
}

function toSigningKey(row: ManagedSigningKeyRow): SigningKeyBody {
  const keyId = `${row.tenancy_id}/${row.user_id}/${row.fingerprint}`;
  return { ...toCommon(row), fingerprint: row.fingerprint, keyId };
}

function toApiKey(row: ManagedApiKeyRow): ApiKeyBody {
  return { ...toCommon(row), id: row.id, prefix: row.prefix };
}

function toAuthToken(row: ManagedAuthTokenRow): AuthTokenBody {
  return { ...toCommon(row), id: row.id };
}
