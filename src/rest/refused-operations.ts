import type { FastifyRequest } from 'fastify';
import type { RefusedRequest } from '../database/audit-functions.js';

/** Anything else may be anything at all, and is not written down. */
const OCID = /^ocid1\.[a-z]{1,64}\.[A-Za-z0-9._-]{1,180}$/;
const DATA_PLANE = /queue-(?:push|pull)$/;

/**
 * What the audit log is to know of a request that was answered; null: nothing. Refused are the 4xx of the control plane,
 * and wrong credentials anywhere. What is refused before its route is known (broken HTTP, a body that is too large) is in
 * the log of the pod only.
 */
export function refusalOf(request: FastifyRequest): RefusedRequest | null {
  const { failure, operation, caller } = request;
  if (failure === undefined || operation === undefined || failure.status >= 500) return null;
  if (failure.code !== 'NotAuthenticated' && DATA_PLANE.test(operation.permission)) return null;
  return {
    operation: operation.id,
    code: failure.code,
    targetIds: targetsOf(request.params),
    address: request.ip,
    requestId: request.id,
    ...(caller === undefined
      ? {}
      : {
          tenancyId: caller.tenancyId,
          userId: caller.userId,
          credential: caller.credential,
          credentialId: caller.credentialId,
        }),
  };
}

function targetsOf(parameters: unknown): string[] {
  return Object.values((parameters ?? {}) as Record<string, string>)
    .map((value) => value.replace(/\/dlq$/, ''))
    .filter((value) => OCID.test(value));
}
