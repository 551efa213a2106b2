// A database of its own for each scenario, and what it takes of the processors.
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { startEmbeddedPostgres } from '../../dist/embedded-postgres/embedded-postgres.js';
import { makeFolder } from '../support.mjs';

/** Runs `act` with `{ databaseUrl, superuserUrl, dataDirectory, processId, folder }`, both URLs of the same database, and whatever it opened by `open`, which is closed in any case. */
export async function withServer(act) {
  const folder = await makeFolder();
  const server = await startEmbeddedPostgres({
    dataDirectory: path.join(folder, 'server'),
    settings: { max_wal_size: '8GB', max_connections: '700' },
  });
  const opened = [];
  try {
    return await act({
      databaseUrl: server.url,
      superuserUrl: Object.assign(new URL(server.superuserUrl), { pathname: new URL(server.url).pathname }).href,
      dataDirectory: path.join(folder, 'pod'),
      processId: server.processId,
      folder,
      /** Of something with `stop`, or a promise of it. */
      open: async (promise) => {
        const thing = await promise;
        opened.push(thing);
        return thing;
      },
    });
  } finally {
    for (const thing of opened.toReversed()) await thing.stop();
    await server.stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
