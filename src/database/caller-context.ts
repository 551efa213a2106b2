/** Who is calling, as far as the audit log tells it. A caller of the API has all of these fields. */
export interface CallerContext {
  readonly tenancyId: string;
  readonly userId: string;
  readonly credential: string;
  /** The fingerprint of a signing key, or the OCID of another credential; never the credential. */
  readonly credentialId: string;
  /** Absent where there is no request, as in tests. */
  readonly request?: RequestContext;
}

export interface RequestContext {
  readonly id: string;
  /** Of the peer. */
  readonly address: string;
  /** The name of the operation in the API. */
  readonly operation: string;
}

/** For towpath.as_caller, as an argument of the function that is called: so that its audit events name the caller. */
export function contextOf({ userId, credential, credentialId, request }: CallerContext): object {
  return {
    userId,
    credential,
    credentialId,
    requestId: request?.id,
    address: request?.address,
    operation: request?.operation,
  };
}
