import { randomBytes } from 'node:crypto';
import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readConfiguration } from '../../src/config/environment.js';
import { DataKeys } from '../../src/encryption/data-keys.js';
import { KeyMaintenance } from '../../src/encryption/key-maintenance.js';
import { startPod, type Pod } from '../../src/app.js';
import { createLogger } from '../../src/operations/log.js';
import { Client, expectError } from '../rest/support.js';
import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

const maintenance = (pod: Pod): KeyMaintenance => pod.app.get(KeyMaintenance);
const newKey = (): string => randomBytes(32).toString('base64');

interface KeyRow {
  readonly id: number;
  readonly master_key_id: string;
  readonly retired: boolean;
}

describe('keys', () => {
  let pods: TestPods;
  let clients: Client[];
  let client: Client;
  let compartmentId: string;
  let keys: string;

  beforeAll(async () => {
    keys = await mkdtemp(path.join(tmpdir(), 'towpath-keys-'));
    await writeFile(path.join(keys, 'ours.key'), `${newKey()}\n`);
    pods = await startTestPods(2, { TOWPATH_MASTER_KEY_DIRECTORY: keys });
    clients = pods.pods.map(({ url }) => new Client(url, pods.credentials.apiKey));
    client = clients[0]!;
    ({ compartmentId } = pods.credentials);
  });
  afterAll(async () => {
    for (const each of clients) each.close();
    await pods.stop();
    await rm(keys, { recursive: true, force: true });
  });

  const keysOf = (queueId: string): Promise<KeyRow[]> =>
    pods.test.sql<KeyRow & Record<string, unknown>>(
      `select k.id, k.master_key_id, k.retired_at is not null as retired
       from towpath.data_key k join towpath.queue q on q.id = k.queue_id where q.ocid = $1 order by k.id`,
      [queueId],
    );
  const contentsOf = async (queueId: string, from = client): Promise<string[]> =>
    (await from.get(queueId, 'limit=20&visibilityInSeconds=1')).map(({ content }) => content).toSorted();

  it('are made once, where pods put at the same time', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await Promise.all(Array.from({ length: 20 }, (_, index) => clients[index % 2]!.put(queueId, String(index))));
    expect(await keysOf(queueId)).toHaveLength(1);
    expect(await contentsOf(queueId)).toHaveLength(20);
  });

  it('are rotated on demand, on all pods at once, and the old one still opens', async () => {
    const queueId = await client.createQueue({ compartmentId });
    for (const each of clients) await each.put(queueId, 'old');
    const rotated = await client.call({ method: 'POST', path: `/queues/${queueId}/actions/rotateDataKey` });
    expect(rotated.status).toBe(202);
    const request = await client.call({ path: `/workRequests/${String(rotated.headers['opc-work-request-id'])}` });
    expect(request.json).toMatchObject({ operationType: 'ROTATE_DATA_KEY', status: 'SUCCEEDED' });
    // The other pod has still the old one in mind.
    for (const each of clients.toReversed()) await each.put(queueId, 'new');
    expect((await keysOf(queueId)).map(({ retired }) => retired)).toEqual([true, false]);
    const [old, current] = await keysOf(queueId);
    const rows = await pods.test.sql<{ key_id: number }>(
      'select m.key_id from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1 order by m.id',
      [queueId],
    );
    expect(rows.map(({ key_id }) => key_id)).toEqual([old!.id, old!.id, current!.id, current!.id]);
    expect(await contentsOf(queueId, clients[1])).toEqual(['new', 'new', 'old', 'old']);
  });

  it('are replaced by age, and before they have sealed too many', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await client.put(queueId, 'a');
    // What the pods remember of the key ends after minutes; here it ends at once.
    const forget = async (): Promise<void> => {
      const [queue] = await pods.test.sql<{ id: number }>('select id from towpath.queue where ocid = $1', [queueId]);
      pods.pods[0]!.app.get(DataKeys).replaced(queue!.id);
    };
    await forget();
    await client.put(queueId, 'b');
    expect(await keysOf(queueId)).toHaveLength(1);
    await pods.test.sql(`update towpath.data_key set created_at = now() - interval '31 days' where retired_at is null`);
    await forget();
    await client.put(queueId, 'c');
    expect(await keysOf(queueId)).toHaveLength(2);
    await pods.test.sql('update towpath.data_key set sealed_messages = 1073741824 where retired_at is null');
    await forget();
    await client.put(queueId, 'd');
    expect((await keysOf(queueId)).map(({ retired }) => retired)).toEqual([true, true, false]);
    expect(await contentsOf(queueId)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('are forgotten when no message needs them, and not before', async () => {
    const queueId = await client.createQueue({ compartmentId, retentionInSeconds: 60 });
    await client.put(queueId, 'old');
    await client.call({ method: 'POST', path: `/queues/${queueId}/actions/rotateDataKey` });
    const age = (interval: string) =>
      pods.test.sql(`update towpath.data_key set retired_at = now() - $1::interval where retired_at is not null`, [
        interval,
      ]);
    await age('100 seconds');
    await maintenance(pods.pods[0]!).run();
    expect(await keysOf(queueId)).toHaveLength(1);
    // Long ago, but there is the message that names it.
    await pods.test.sql(`update towpath.message set created_at = now() - interval '2 hours' where key_id = $1`, [
      (await keysOf(queueId))[0]!.id,
    ]);
    await age('1 hour');
    await maintenance(pods.pods[0]!).run();
    expect(await keysOf(queueId)).toHaveLength(1);
    const [message] = await client.get(queueId);
    expect(message?.content).toBe('old');
    await client.call({ method: 'DELETE', path: `/queues/${queueId}/messages/${message!.receipt}` });
    await maintenance(pods.pods[0]!).run();
    expect(await keysOf(queueId)).toHaveLength(0);
  });

  it('go with their queue', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await client.put(queueId, 'x');
    expect(await keysOf(queueId)).toHaveLength(1);
    await client.call({ method: 'DELETE', path: `/queues/${queueId}` });
    await until(async () => (await keysOf(queueId)).length === 0, 'the queue is deleted');
  });

  it('of the operator: a queue whose key is disabled answers 409, others go on, and it comes back', async () => {
    const queueId = await client.createQueue({ compartmentId, customEncryptionKeyId: 'ours' });
    const other = await client.createQueue({ compartmentId });
    await client.put(queueId, 'kept');
    await client.put(other, 'other');
    expect((await keysOf(queueId)).map(({ master_key_id }) => master_key_id)).toEqual(['ours']);
    expect(await contentsOf(queueId, clients[1])).toEqual(['kept']);
    const path409 = { body: { messages: [{ content: 'x' }] } };
    const put = (to: string) => client.call({ method: 'POST', path: `/queues/${to}/messages`, ...path409 });

    await rename(path.join(keys, 'ours.key'), path.join(keys, 'ours.disabled'));
    await until(async () => (await put(queueId)).status === 409, 'it is disabled');
    expectError(await put(queueId), 409, 'IncorrectState', /ours.*disabled or unknown: enable it/);
    for (const each of clients) {
      const get = { path: `/queues/${queueId}/messages?timeoutInSeconds=0` };
      await until(async () => (await each.call(get)).status === 409, 'it is disabled there too');
    }
    for (const reading of ['messages/actions/peekMessages', 'deadLetters/actions/export']) {
      expectError(await client.call({ path: `/queues/${queueId}/${reading}` }), 409, 'IncorrectState', /ours/);
    }
    expect((await client.call({ path: `/queues/${queueId}/stats` })).status).toBe(200);
    expect((await put(other)).status).toBe(200);
    expect(await contentsOf(other)).toEqual(['other', 'x']);

    await rename(path.join(keys, 'ours.disabled'), path.join(keys, 'ours.key'));
    await until(async () => (await put(queueId)).status === 200, 'it is back');
    const isKept = async (): Promise<boolean> =>
      contentsOf(queueId, clients[1]).then(
        (contents) => contents.includes('kept'),
        // The other pod has not looked yet.
        () => false,
      );
    await until(isKept, 'what was there is read again');
  });

  it('of the operator: another one may be named, and what was there is wrapped with it', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await client.put(queueId, 'before');
    const body = { customEncryptionKeyId: 'ours' };
    expect((await client.call({ method: 'PUT', path: `/queues/${queueId}`, body })).status).toBe(202);
    await client.put(queueId, 'after');
    expect((await keysOf(queueId)).map(({ retired }) => retired)).toEqual([true, false]);
    expect((await maintenance(pods.pods[0]!).run()).rewrapped).toBeGreaterThanOrEqual(1);
    expect((await keysOf(queueId)).map(({ master_key_id }) => master_key_id)).toEqual(['ours', 'ours']);
    expect(await contentsOf(queueId, clients[1])).toEqual(['after', 'before']);
  });

  it('of the pods are made at the first start, for their owner only', async () => {
    const { mode } = await stat(path.join(pods.dataDirectory, 'master.key'));
    expect(mode & 0o777).toBe(0o600);
  });

  it('of the pods are replaced without touching a message', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await client.put(queueId, 'sealed under the first');
    const [before] = await pods.test.sql<{ text: string }>(
      'select m::text as text from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1',
      [queueId],
    );
    const [old] = await keysOf(queueId);
    const first = path.join(pods.dataDirectory, 'master.key');
    // The old one goes on in the directory under any name, the new one is given.
    await rename(first, path.join(keys, 'old-one.key'));
    const key = newKey();
    const pod = await pods.add({ TOWPATH_MASTER_KEY: key });
    await maintenance(pod).run();
    expect((await keysOf(queueId))[0]!.master_key_id).not.toBe(old!.master_key_id);
    const [after] = await pods.test.sql<{ text: string }>(
      'select m::text as text from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1',
      [queueId],
    );
    expect(after).toEqual(before);
    // Now without the old one at all.
    await rm(path.join(keys, 'old-one.key'));
    const fresh = await pods.add({ TOWPATH_MASTER_KEY: key });
    const reader = new Client(fresh.url, pods.credentials.apiKey);
    expect(await contentsOf(queueId, reader)).toEqual(['sealed under the first']);
    reader.close();
  });

  it('must be those of the database: a pod does not start with one that it would have to make up', async () => {
    const elsewhere = await mkdtemp(path.join(tmpdir(), 'towpath-elsewhere-'));
    const start = (environment: Record<string, string>): Promise<Pod> =>
      startPod(
        readConfiguration({
          DATABASE_URL: pods.test.url,
          TOWPATH_PORT: '0',
          TOWPATH_STOMP_PORT: '0',
          TOWPATH_DATA_DIR: elsewhere,
          ...environment,
        }),
        pods.test.url,
        createLogger('silent'),
      );
    await expect(start({})).rejects.toThrow(/sealed under a master key that is not in .*set TOWPATH_MASTER_KEY_FILE/);
    await expect(start({ TOWPATH_MASTER_KEY: 'short' })).rejects.toThrow(/32 bytes in base64.*openssl rand/);
    await expect(start({ TOWPATH_MASTER_KEY: 'short' })).rejects.not.toThrow(/short/);
    await expect(start({ TOWPATH_MASTER_KEY_FILE: path.join(elsewhere, 'no') })).rejects.toThrow(/cannot be read/);
    await expect(start({ TOWPATH_MASTER_KEY_ID: 'no', TOWPATH_MASTER_KEY_DIRECTORY: keys })).rejects.toThrow(/no\.key/);
    await rm(elsewhere, { recursive: true, force: true });
  });
});
