import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';

/*
 * Below the range from which Linux (32768…), macOS and Windows (49152…) give ports to outgoing connections: a port that we
 * remember must still be free at the next start, and not be on loan to somebody's browser.
 */
const LOWEST = 20_000;
const HIGHEST = 30_000;
const ATTEMPTS = 100;

export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

export async function chooseFreePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(LOWEST, HIGHEST);
    if (await isPortFree(port)) return port;
  }
  throw new EmbeddedPostgresError(
    `found no free port on 127.0.0.1 between ${LOWEST} and ${HIGHEST} in ${ATTEMPTS} attempts. ` +
      `End what occupies them, or check whether this machine allows listening on 127.0.0.1 at all.`,
  );
}
