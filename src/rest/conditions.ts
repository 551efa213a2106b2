import { ServiceError } from '../errors/service-error.js';

/** The version that if-match asks for, or null. ETags are sent with and without quotes, and marked weak by proxies. */
export function unquoted(ifMatch: string | undefined): string | null {
  return ifMatch === undefined ? null : ifMatch.trim().replace(/^(?:W\/)?"(.*)"$/, '$1');
}

/** The opc-retry-token, or null. Throws InvalidParameter for one that cannot be kept. */
export function checkedRetryToken(token: string | undefined): string | null {
  if (token !== undefined && !/^[\x20-\x7e]{1,64}$/.test(token)) {
    throw new ServiceError('InvalidParameter', 'opc-retry-token must have 1 to 64 printable ASCII characters');
  }
  return token ?? null;
}
