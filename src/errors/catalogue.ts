import { ServiceError, type ErrorCode } from './service-error.js';

/** What each SQLSTATE of our own class means on the wire; `towpath.fail` in the migrations lists them. */
const OWN_CODES: Readonly<Record<string, ErrorCode>> = {
  TP400: 'InvalidParameter',
  TP4LE: 'LimitExceeded',
  TP404: 'NotAuthorizedOrNotFound',
  TP409: 'IncorrectState',
  TP4RT: 'InvalidatedRetryToken',
  TP412: 'NoEtagMatch',
  // Whoever seals tries again; a caller is told only where that does not help.
  TP4SE: 'IncorrectState',
};

/** Codes of Node's network errors and of PostgreSQL that mean: the database cannot be worked with at the moment. */
const UNAVAILABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
]);
const UNAVAILABLE_CLASSES = ['08', '53', '57P', '58', '25006'];

interface ErrorLike {
  readonly code: string;
  readonly message: string;
}

/** Node's own errors are no instances of Error in every realm (jest), so their shape is what counts. */
function shapeOf(error: unknown): ErrorLike {
  const { code, message } = (typeof error === 'object' && error !== null ? error : {}) as Partial<
    Record<string, unknown>
  >;
  return { code: typeof code === 'string' ? code : '', message: typeof message === 'string' ? message : '' };
}

/**
 * True where the error says that the connection or the server is gone, going, read-only or out of resources. For a
 * statement that was under way its outcome is then unknown: it must not be run again.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  const { code, message } = shapeOf(error);
  if (code !== '') return UNAVAILABLE.has(code) || UNAVAILABLE_CLASSES.some((start) => code.startsWith(start));
  if (error instanceof AggregateError) return error.errors.some(isDatabaseUnavailable);
  // pg gives no code to these.
  return /Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error|not queryable/.test(
    message,
  );
}

/**
 * True where the server itself has refused a statement, so that nothing of it was done and it may be run again. Not where
 * it is the server that is in trouble: that is nobody's fault, and trying again at once would not help.
 */
export function isRefusedByDatabase(error: unknown): boolean {
  // Every answer of the server has a severity and an SQLSTATE; what fails on the way has no severity.
  const { severity } = (typeof error === 'object' && error !== null ? error : {}) as { severity?: unknown };
  return typeof severity === 'string' && shapeOf(error).code.length === 5 && !isDatabaseUnavailable(error);
}

/** True where a put was refused because its data key is not in force any more: seal with the one that is. */
export function isDataKeyReplaced(error: unknown): boolean {
  return shapeOf(error).code === 'TP4SE';
}

/** Turns whatever was thrown into the error that the caller is told of. A foreign database error never gets through. */
export function toServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  const { code: sqlState, message } = shapeOf(error);
  const code = OWN_CODES[sqlState];
  if (code !== undefined) return new ServiceError(code, message, { cause: error });
  if (isDatabaseUnavailable(error)) {
    return new ServiceError('ServiceUnavailable', 'the database cannot be reached at the moment: try again', {
      cause: error,
    });
  }
  return new ServiceError(
    'InternalServerError',
    'something went wrong that is not your fault; the log has the details',
    {
      cause: error,
    },
  );
}
