import type { RequestContext } from '../database/caller-context.js';
import type { Permission } from './permission.js';

/** How a caller proved who they are. */
export type Credential = 'signature' | 'api-key' | 'auth-token';

/** Who is calling: the result of an authentication, good for one request or one STOMP connection. */
export interface Caller {
  readonly tenancyId: string;
  readonly userId: string;
  readonly credential: Credential;
  /** The fingerprint of the signing key, or the OCID of the API key or auth token. */
  readonly credentialId: string;
  /** What a STOMP command needs, as src/stomp/permissions.ts declares it. */
  readonly permission?: Permission;
  /** What the audit log tells of the request; absent on a STOMP connection. */
  readonly request?: RequestContext;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the authentication guard on every route that is not public. */
    caller?: Caller;
    /** Set by the guard, before the credentials are looked at, on every route that is an operation and not public. */
    operation?: { readonly id: string; readonly permission: Permission };
  }
}
