import type { Permission } from './permission.js';

/** How a caller proved who they are. */
export type Credential = 'signature' | 'api-key' | 'auth-token';

/** Who is calling: the result of an authentication, good for one request or one STOMP connection. */
export interface Caller {
  readonly tenancyId: string;
  readonly userId: string;
  readonly credential: Credential;
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
  }
}
