import pg from 'pg';
import { isDatabaseUnavailable } from '../errors/catalogue.js';

const TRY_EVERY_MS = 500;
const CONNECT_MS = 5000;

/** What an operator has to mend before the service can start. */
export class DatabaseConnectionError extends Error {
  override readonly name = 'DatabaseConnectionError';
}

/**
 * Waits until the server at `url` answers, for at most `waitMs`: pods are often started together with their database.
 * Throws DatabaseConnectionError in plain words, at once where waiting would not help (a wrong password, no such
 * database).
 */
export async function waitForDatabase(url: string, waitMs: number, log: (line: string) => void): Promise<void> {
  const deadline = performance.now() + waitMs;
  let hasTold = false;
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return;
    } catch (error) {
      const reason = reasonOf(error);
      if (!isDatabaseUnavailable(error)) {
        throw new DatabaseConnectionError(`The database of DATABASE_URL refuses the connection: ${reason}`, {
          cause: error,
        });
      }
      if (performance.now() >= deadline) {
        throw new DatabaseConnectionError(
          `The database of DATABASE_URL did not answer within ${waitMs / 1000} s: ${reason}`,
          { cause: error },
        );
      }
      if (!hasTold) log(`waiting for the database: ${reason}`);
      hasTold = true;
    } finally {
      await client.end().catch(() => undefined);
    }
    await new Promise((resolve) => setTimeout(resolve, TRY_EVERY_MS));
  }
}

function reasonOf(error: unknown): string {
  // Several addresses were tried; the first one's failure speaks for all.
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
}
