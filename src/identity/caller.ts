import type { RequestContext } from '../database/caller-context.js';
import type { Permission } from './permission.js';

/** How a caller proved who they are. */
export type Credential = 'signature' | 'api-key' | 'auth-token' | 'oidc';

/** Who is calling: the result of an authentication, good for one request or one STOMP connection. */
export interface Caller {
  readonly tenancyId: string;
  /** The OCID of the user; of one who is known by a token only, `oidc/` and the name in it, percent-encoded. */
  readonly userId: string;
  readonly credential: Credential;
  /** The fingerprint of the signing key, the OCID of the API key or auth token, or issuer and subject of an OIDC token. */
  readonly credentialId: string;
  /** What the audit log tells of the request; absent on a STOMP connection. */
  readonly request?: RequestContext;
  /** The names of the groups, where a token tells them; absent: they are in the database. */
  readonly groups?: readonly string[];
  /**
   * What the request needs, as its route declares it: whoever finds the thing that it is about asks src/policies/access.ts
   * whether the caller has it there. Absent before the route is known; then nothing is permitted.
   */
  readonly permission?: Permission;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the authentication guard on every route that is not public. */
    caller?: Caller;
    /** Set by the guard, before the credentials are looked at, on every route that is an operation and not public. */
    operation?: { readonly id: string; readonly permission: Permission };
  }
}
