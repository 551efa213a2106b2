const OTHER_WAY =
  'The other way: set DATABASE_URL to a PostgreSQL server of your own; then no embedded server is started.';

/**
 * Raised when the embedded server cannot be started, stopped or adopted. The message is for a person at a terminal: what
 * failed, why, what to do. It always ends with the other way out, DATABASE_URL.
 */
export class EmbeddedPostgresError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(`The embedded PostgreSQL: ${message.trim()} ${OTHER_WAY}`, options);
    this.name = 'EmbeddedPostgresError';
  }
}

/**
 * The code of a failed system call (EACCES, ENOSPC…) or of PostgreSQL, or undefined. Asks for the property, not for the
 * class: under jest Node's own errors are of another realm's Error.
 */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

export function errorMessage(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('message' in error)) return String(error);
  return String(error.message);
}

/** Why a system call failed, for people who do not read errno. */
export function explainErrorCode(error: unknown): string {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
      return 'the user that runs Towpath is not allowed to read or write there';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'the disk is full';
    case 'ENOTDIR':
    case 'EEXIST':
      return 'something that is not a folder is in the way';
    default:
      return errorMessage(error);
  }
}

/** Whether PostgreSQL says that the disk is full. It does not always repeat the system's words. */
export function saysDiskFull(output: string): boolean {
  return /No space left on device|Disk quota exceeded|Check free disk space/.test(output);
}

/** Gives any error the form that a person can read; an EmbeddedPostgresError stays as it is. */
export function asEmbeddedPostgresError(error: unknown, whatFailed: string): EmbeddedPostgresError {
  if (error instanceof EmbeddedPostgresError) return error;
  return new EmbeddedPostgresError(`${whatFailed}: ${explainErrorCode(error)}.`, { cause: error });
}
