import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { migrate } from '../../src/database/migrator.js';
import { makeApiKey } from '../../src/identity/api-key.js';
import { Client } from '../rest/support.js';
import { createTestDatabase } from '../support/database.js';
import { startPod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { createLogger } from '../../src/operations/log.js';

const ours = path.resolve(import.meta.dirname, '../../migrations');
/** The last migration of the release without groups and policies. */
const BEFORE = '0015';

it('a database from before there were policies goes on: who is there may do everything, who comes later nothing', async () => {
  const database = await createTestDatabase(null);
  const folder = await mkdtemp(path.join(tmpdir(), 'towpath-migrations-'));
  try {
    for (const name of await readdir(ours)) {
      if (name.slice(0, 4) <= BEFORE) await cp(path.join(ours, name), path.join(folder, name));
    }
    await migrate(database.url, folder, () => undefined);
    const functions = new IdentityFunctions(database.database);
    const addUser = async (tenancyId: string, name: string): Promise<{ id: string; key: string }> => {
      const { id } = await functions.createUser(tenancyId, name);
      const { key, prefix, digest } = makeApiKey();
      await functions.addApiKey(tenancyId, id, prefix, digest);
      return { id, key };
    };
    const { id: tenancyId } = await functions.createTenancy('acme');
    const { id: otherId } = await functions.createTenancy('other');
    const [first, second] = [await addUser(tenancyId, 'ana'), await addUser(tenancyId, 'ben')];
    const other = await addUser(otherId, 'cy');
    const [queue] = await database.sql<{ id: string }>(
      `select identifier as id from towpath.create_queue($1, jsonb_build_object('displayName', 'q', 'compartmentId', $1::text))`,
      [tenancyId],
    );

    const configuration = readConfiguration({ DATABASE_URL: database.url, TOWPATH_PORT: '0' });
    const pod = await startPod(configuration, database.url, createLogger('silent'));
    const client = new Client(pod.url, first.key);
    try {
      for (const { key } of [first, second]) {
        expect((await client.call({ path: `/queues/${queue!.id}`, apiKey: key })).status).toBe(200);
        expect((await client.call({ path: '/users', apiKey: key })).status).toBe(200);
      }
      expect((await client.call({ path: `/queues/${queue!.id}`, apiKey: other.key })).status).toBe(404);
      expect((await client.call({ path: '/users', apiKey: other.key })).status).toBe(200);
      // That is in the audit log.
      const { json } = await client.call({ path: '/auditEvents?operation=addGroupMember' });
      const events = json!['items'] as { parameters: object; credential: string }[];
      expect(events.map(({ parameters }) => parameters)).toEqual(
        expect.arrayContaining(['ana', 'ben'].map((userName) => ({ groupName: 'Administrators', userName }))),
      );
      expect(new Set(events.map(({ credential }) => credential))).toEqual(new Set(['database-role']));

      const late = await addUser(tenancyId, 'late');
      expect((await client.call({ path: `/queues/${queue!.id}`, apiKey: late.key })).status).toBe(404);
      // One may go, the last one stays.
      expect((await client.call({ method: 'DELETE', path: `/users/${second.id}` })).status).toBe(204);
      expect((await client.call({ method: 'DELETE', path: `/users/${first.id}` })).status).toBe(409);
    } finally {
      client.close();
      await pod.stop();
    }
  } finally {
    await database.drop();
    await rm(folder, { recursive: true });
  }
}, 60_000);
