import { Logger } from '@nestjs/common';
import { jwtVerify, type JWTPayload } from 'jose';
import type { Configuration } from '../config/environment.js';
import { ServiceError } from '../errors/service-error.js';
import { IssuerKeys, IssuerUnavailable } from './issuer-keys.js';

/** Signatures with a private key only: an HMAC would be made with what is public here. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const CLOCK_TOLERANCE_SECONDS = 30;
const MAX_CLAIM_LENGTH = 255;
const MAX_GROUPS = 200;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]*$/;

type OidcConfiguration = Pick<
  Configuration,
  'oidcIssuer' | 'oidcAudience' | 'oidcTenancy' | 'oidcUserClaim' | 'oidcGroupsClaim'
>;

/** What a token that is right says. */
export interface TokenClaims {
  /** The name of the tenancy that the configuration gives to tokens of this issuer. */
  readonly tenancyName: string;
  /** The claim that names the user. */
  readonly userName: string;
  /** The names of the groups that the token tells; null: the configuration takes no groups from tokens. */
  readonly groups: readonly string[] | null;
  /** Issuer and subject, for the audit log. */
  readonly subject: string;
}

/** Whether a bearer token is a JWT by its form: three parts with dots between them, which an API key never has. */
export function looksLikeJwt(token: string): boolean {
  return JWT.test(token);
}

/** Verifies bearer tokens of the OIDC issuer that the configuration names. */
export class OidcTokens {
  private readonly logger = new Logger(OidcTokens.name);
  private readonly keys: IssuerKeys | null;

  constructor(
    private readonly configuration: OidcConfiguration,
    keys: IssuerKeys | null = null,
  ) {
    const { oidcIssuer } = configuration;
    const onFailure = (error: unknown): void => this.logger.warn({ err: error }, 'the OIDC issuer fails');
    this.keys = oidcIssuer === null ? null : (keys ?? new IssuerKeys(oidcIssuer, onFailure));
  }

  /**
   * What a token says; null where it is not valid here, whatever is wrong with it. Throws ServiceUnavailable where the
   * issuer's keys are not known and the issuer does not answer.
   */
  async verify(token: string): Promise<TokenClaims | null> {
    const { oidcIssuer, oidcAudience, oidcTenancy, oidcUserClaim, oidcGroupsClaim } = this.configuration;
    // The check at the start sees to it that there is an audience.
    if (oidcIssuer === null || oidcAudience === null || this.keys === null) return null;
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, this.keys.find, {
        issuer: oidcIssuer,
        audience: oidcAudience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        requiredClaims: ['exp', 'sub'],
      }));
    } catch (error) {
      if (!(error instanceof IssuerUnavailable)) return null;
      throw new ServiceError(
        'ServiceUnavailable',
        'the issuer of the token cannot be asked for its keys right now: try again in a few seconds, or use another credential',
        { cause: error, retryAfterSeconds: 5 },
      );
    }
    const userName = textOf(payload[oidcUserClaim]);
    const sub = textOf(payload.sub);
    if (userName === null || sub === null) return null;
    const groups = oidcGroupsClaim === null ? null : groupsOf(payload[oidcGroupsClaim]);
    return { tenancyName: oidcTenancy, userName, groups, subject: `${oidcIssuer} ${sub}` };
  }
}

/** A claim that can be a name. PostgreSQL takes neither NUL nor half surrogate pairs. */
function textOf(claim: unknown): string | null {
  return typeof claim === 'string' &&
    claim !== '' &&
    claim.length <= MAX_CLAIM_LENGTH &&
    !claim.includes('\0') &&
    claim.isWellFormed()
    ? claim
    : null;
}

/** What is no list of names names no groups. */
function groupsOf(claim: unknown): string[] {
  if (!Array.isArray(claim)) return [];
  const names = claim.map(textOf).filter((name) => name !== null);
  return [...new Set(names)].toSorted().slice(0, MAX_GROUPS);
}
