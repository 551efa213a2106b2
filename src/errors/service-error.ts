/**
 * The service codes of the OCI API with the HTTP status each is answered with. A code decides, text never does:
 * SDKs retry 409 IncorrectState, 429 TooManyRequests and 5xx, and nothing else.
 */
export const HTTP_STATUS = {
  CannotParseRequest: 400,
  InvalidParameter: 400,
  MissingParameter: 400,
  LimitExceeded: 400,
  NotAuthenticated: 401,
  NotAuthorizedOrNotFound: 404,
  NotFound: 404,
  MethodNotAllowed: 405,
  RequestTimeout: 408,
  IncorrectState: 409,
  InvalidatedRetryToken: 409,
  NoEtagMatch: 412,
  PayloadTooLarge: 413,
  URITooLong: 414,
  UnsupportedMediaType: 415,
  TooManyRequests: 429,
  RequestHeaderFieldsTooLarge: 431,
  InternalServerError: 500,
  ServiceUnavailable: 503,
} as const;

export type ErrorCode = keyof typeof HTTP_STATUS;

/** An error that a caller is told of: its code decides the status, its message says what to do. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  /** When a repeat may succeed, for the header Retry-After; null: nobody knows. */
  readonly retryAfterSeconds: number | null;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: ErrorOptions & { readonly retryAfterSeconds?: number } = {},
  ) {
    super(message, options);
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }

  get status(): number {
    return HTTP_STATUS[this.code];
  }
}
