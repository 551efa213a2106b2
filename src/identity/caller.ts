/** How a caller proved who they are. */
export type Credential = 'signature' | 'api-key' | 'auth-token';

/** Who is calling: the result of an authentication, good for one request or one STOMP connection. */
export interface Caller {
  readonly tenancyId: string;
  readonly userId: string;
  readonly credential: Credential;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the authentication guard on every route that is not public. */
    caller?: Caller;
  }
}
