import { createPublicKey, type KeyObject } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import {
  IdentityFunctions,
  type CredentialRow,
  type SigningKeyName,
  type SigningKeyRow,
  type StompLogin,
  type UserName,
} from '../database/identity-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { digestOfApiKey, digestsOfPasscode } from './api-key.js';
import type { Caller } from './caller.js';
import { CredentialCache } from './credential-cache.js';
import { CredentialUses } from './credential-uses.js';
import { looksLikeJwt, OidcTokens } from './oidc-tokens.js';
import { readSignature, singleHeader, verifySignature, type SignedRequest } from './request-signature.js';

type Found = Omit<Caller, 'credential' | 'request'>;
interface NamedUser {
  readonly tenancyId: string;
  /** Null: the tenancy has no user of that name. */
  readonly userId: string | null;
}

// Tokens that tell many groups are long; all headers of a request have 16 KiB.
const BEARER = /^Bearer[ \t]+([\x21-\x7e]{1,12000})$/i;
// Nothing of which part was wrong: who guesses learns nothing from it.
const NOT_AUTHENTICATED =
  'The request has no credentials that are valid here. Sign it with an API signing key (OCI request signature), ' +
  'or send an API key, or a token of the OIDC issuer that is configured, as "Authorization: Bearer ..."';
const STOMP_NOT_AUTHENTICATED =
  'login and passcode are not valid here: the login is <tenancy name>/<user name>, the passcode an auth token or its base64';

/**
 * Says who is calling. What is right is remembered for two seconds: a credential that was revoked works no longer than
 * that, and usually until `forget`, which `Revocations` calls within milliseconds.
 */
@Injectable()
export class AuthenticationService {
  private readonly logger = new Logger(AuthenticationService.name);
  private readonly signingKeys: CredentialCache<SigningKeyName, KeyObject>;
  /** By digest, in base64. */
  private readonly apiKeys: CredentialCache<string, Found>;
  private readonly stompLogins: CredentialCache<StompLogin, Found>;
  private readonly users: CredentialCache<UserName, NamedUser>;

  constructor(
    functions: IdentityFunctions,
    /** Null: nobody wants to know what was used. */
    @Inject(CredentialUses) private readonly uses: Pick<CredentialUses, 'note'> | null = null,
    /** Null: only what the database knows is a credential. */
    @Inject(OidcTokens) private readonly tokens: Pick<OidcTokens, 'verify'> | null = null,
  ) {
    this.signingKeys = new CredentialCache(async (names) => {
      const rows = await functions.findSigningKeys(names);
      return new Map(
        rows.flatMap((row) => {
          const key = this.parseKey(row);
          const name = { tenancyId: row.tenancy_id, userId: row.user_id, fingerprint: row.fingerprint };
          return key === null ? [] : [[nameOfSigningKey(name), key] as const];
        }),
      );
    });
    this.apiKeys = new CredentialCache(async (digests) => {
      const rows = await functions.findApiKeys(digests.map((digest) => Buffer.from(digest, 'base64')));
      return new Map(rows.map((row) => [row.digest.toString('base64'), toFound(row)]));
    });
    this.users = new CredentialCache(async (names) => {
      const rows = await functions.findUsersByName(names);
      return new Map(
        rows.map((row) => [
          nameOfUser({ tenancyName: row.tenancy_name, userName: row.user_name }),
          { tenancyId: row.tenancy_id, userId: row.user_id },
        ]),
      );
    });
    this.stompLogins = new CredentialCache(async (logins) => {
      const rows = await functions.findStompLogins(logins);
      return new Map(
        rows.map((row) => [
          nameOfStompLogin({ tenancyName: row.tenancy_name, userName: row.user_name, digest: row.digest }),
          toFound(row),
        ]),
      );
    });
  }

  /**
   * The caller of a request, by its OCI request signature, its bearer API key or its OIDC token. Throws NotAuthenticated, with one text
   * for whatever was wrong except the date of a signature that is otherwise valid; ServiceUnavailable without a database, or an issuer.
   */
  async authenticate(request: SignedRequest): Promise<Caller> {
    const authorization = singleHeader(request.rawHeaders, 'authorization') ?? '';
    const token = BEARER.exec(authorization)?.[1];
    return token === undefined ? this.authenticateSignature(request) : this.authenticateToken(token);
  }

  /**
   * The caller behind a STOMP login (`<tenancy name>/<user name>`) and passcode (an auth token, or its base64). Throws
   * NotAuthenticated, with one text for whatever was wrong; ServiceUnavailable without a database.
   */
  async authenticateLogin(login: string, passcode: string): Promise<Caller> {
    const digests = digestsOfPasscode(passcode);
    // A tenancy's name has no slash, a user's may. PostgreSQL refuses NUL, for all that share the statement.
    const slash = login.indexOf('/');
    if (slash < 1 || login.length > 400 || login.includes('\0')) {
      throw new ServiceError('NotAuthenticated', STOMP_NOT_AUTHENTICATED);
    }
    const name = { tenancyName: login.slice(0, slash), userName: login.slice(slash + 1) };
    const answers = await Promise.all(
      digests.map((digest) => this.stompLogins.get(nameOfStompLogin({ ...name, digest }), { ...name, digest })),
    );
    const found = answers.find((answer) => answer !== null);
    if (found === undefined || found === null) throw new ServiceError('NotAuthenticated', STOMP_NOT_AUTHENTICATED);
    this.uses?.note('auth-token', found.credentialId);
    return { ...found, credential: 'auth-token' };
  }

  /** Looks everything of this user up again; null: of everybody, because a notification may have been missed. */
  forget(user: { readonly tenancyId: string; readonly userId: string } | null): void {
    if (user === null) {
      for (const cache of [this.signingKeys, this.apiKeys, this.stompLogins, this.users]) cache.forget();
      return;
    }
    const { tenancyId, userId } = user;
    const isTheirs = (_: string, found: Found): boolean => found.tenancyId === tenancyId && found.userId === userId;
    this.signingKeys.forget((name) => name.startsWith(`${tenancyId}/${userId}/`));
    this.apiKeys.forget(isTheirs);
    this.stompLogins.forget(isTheirs);
    this.users.forget((_, found) => found.tenancyId === tenancyId && found.userId === userId);
  }

  private async authenticateSignature(request: SignedRequest): Promise<Caller> {
    const claim = readSignature(request);
    const key = claim === null ? null : await this.signingKeys.get(nameOfSigningKey(claim.key), claim.key);
    if (claim === null || key === null) throw new ServiceError('NotAuthenticated', NOT_AUTHENTICATED);
    const now = Date.now();
    const verdict = verifySignature(request, claim, key, now);
    if (verdict === 'skewed') {
      throw new ServiceError(
        'NotAuthenticated',
        `The signature is valid but its date is more than 5 minutes from this server's clock, ${new Date(now).toUTCString()}`,
      );
    }
    if (verdict !== 'valid') throw new ServiceError('NotAuthenticated', NOT_AUTHENTICATED);
    // Only now: whoever knows a keyId can have it looked up.
    this.uses?.note('signature', nameOfSigningKey(claim.key));
    const { tenancyId, userId, fingerprint } = claim.key;
    return { tenancyId, userId, credential: 'signature', credentialId: fingerprint };
  }

  private async authenticateToken(token: string): Promise<Caller> {
    if (looksLikeJwt(token)) return this.authenticateJwt(token);
    const digest = digestOfApiKey(token);
    const found = digest === null ? null : await this.apiKeys.get(digest, digest);
    if (found === null) throw new ServiceError('NotAuthenticated', NOT_AUTHENTICATED);
    this.uses?.note('api-key', found.credentialId);
    return { ...found, credential: 'api-key' };
  }

  /** A user of the database, or one who is known by the token only, with the groups that it tells. */
  private async authenticateJwt(token: string): Promise<Caller> {
    const claims = await this.tokens?.verify(token);
    if (claims === undefined || claims === null) throw new ServiceError('NotAuthenticated', NOT_AUTHENTICATED);
    const { tenancyName, userName, groups, subject } = claims;
    const found = await this.users.get(nameOfUser({ tenancyName, userName }), { tenancyName, userName });
    const credential = { credential: 'oidc', credentialId: subject } as const;
    if (found !== null && groups !== null) {
      const userId = `oidc/${encodeURIComponent(userName)}`;
      return { tenancyId: found.tenancyId, userId, groups, ...credential };
    }
    if (found === null || found.userId === null) throw new ServiceError('NotAuthenticated', NOT_AUTHENTICATED);
    return { tenancyId: found.tenancyId, userId: found.userId, ...credential };
  }

  /** A key that cannot be read is logged and treated as missing: it must not fail others that were looked up with it. */
  private parseKey(row: SigningKeyRow): KeyObject | null {
    try {
      const key = createPublicKey(row.public_key);
      if (key.asymmetricKeyType === 'rsa') return key;
      this.logger.error(`signing key ${row.fingerprint} of ${row.user_id} is not an RSA key: it is not used`);
    } catch (error) {
      this.logger.error(`signing key ${row.fingerprint} of ${row.user_id} cannot be read: ${String(error)}`);
    }
    return null;
  }
}

function toFound(row: CredentialRow): Found {
  return { tenancyId: row.tenancy_id, userId: row.user_id, credentialId: row.id };
}

function nameOfUser({ tenancyName, userName }: UserName): string {
  // A tenancy's name has no slash.
  return `${tenancyName}/${userName}`;
}

function nameOfSigningKey(name: SigningKeyName): string {
  // None of the three can have a slash.
  return `${name.tenancyId}/${name.userId}/${name.fingerprint}`;
}

function nameOfStompLogin(login: StompLogin): string {
  // The digest's length is fixed, and the first slash ends the tenancy's name.
  return `${login.digest.toString('base64')} ${login.tenancyName}/${login.userName}`;
}
