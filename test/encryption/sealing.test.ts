import { Client, expectError } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

const SECRETS = ['kalte-Sophie', 'geheimer-Wert', 'geheimes-Wort', 'ganz-anderes'] as const;

/** Everything that the tables of the database hold, as text, bytes both as they are and in hexadecimal. */
async function dump(pods: TestPods): Promise<string> {
  const tables = await pods.test.sql<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_schema = 'towpath' and table_type = 'BASE TABLE'`,
  );
  const texts: string[] = [];
  for (const { name } of tables) {
    const rows = await pods.test.sql<{ row: string }>(`select t::text as row from ${name} t`);
    texts.push(name, ...rows.map(({ row }) => row));
  }
  return texts.join('\n');
}

const plantedIn = (text: string): string[] =>
  SECRETS.filter((secret) => text.includes(secret) || text.includes(Buffer.from(secret).toString('hex')));

const secretMessage = (more: object = {}): object => ({
  content: `${SECRETS[0]} ${SECRETS[1]}`,
  metadata: { customProperties: { [SECRETS[2]]: SECRETS[3] } },
  ...more,
});
const colour = (name: string, more: object = {}): object => ({
  content: name,
  metadata: { customProperties: { colour: name } },
  ...more,
});

describe('sealed messages', () => {
  let pods: TestPods;
  let client: Client;
  let compartmentId: string;

  beforeAll(async () => {
    pods = await startTestPods(2);
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const put = (queueId: string, messages: object[], headers: Record<string, string> = {}) =>
    client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body: { messages }, headers });
  const get = async (
    queueId: string,
    query = 'limit=20',
    using = client,
  ): Promise<{ content: string; metadata?: object }[]> => using.get(queueId, query);
  const numberOf = async (queueId: string): Promise<number> =>
    (await pods.test.sql<{ id: number }>('select id from towpath.queue where ocid = $1', [queueId]))[0]!.id;

  it('leave no byte of content or properties in the database, and come back whole on any pod', async () => {
    const queueId = await client.createQueue({ compartmentId });
    const grouped = await client.createQueue({ compartmentId, capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    for (const id of [queueId, grouped]) {
      await put(id, [secretMessage(), secretMessage()]);
      await put(id, [secretMessage({ deduplicationId: 'one' })], { 'opc-retry-token': 'token' });
    }
    // The search itself finds what is there.
    const open = await client.createQueue({ compartmentId, acceptUnsealed: true });
    await pods.test.sql('select towpath.put_messages($1, array[$2])', [await numberOf(open), SECRETS[0]]);
    expect(plantedIn(await dump(pods))).toEqual([SECRETS[0]]);
    await pods.test.sql('delete from towpath.message where queue_id = $1', [await numberOf(open)]);
    expect(plantedIn(await dump(pods))).toEqual([]);

    const other = new Client(pods.pods[1]!.url, pods.credentials.apiKey);
    for (const id of [queueId, grouped]) {
      const messages = await get(id, 'limit=20', other);
      expect(messages).toHaveLength(3);
      for (const message of messages) expect(message).toMatchObject(secretMessage());
    }
    other.close();
    // What happened to them has left nothing either.
    expect(plantedIn(await dump(pods))).toEqual([]);
  });

  it('count with the size that they have unsealed', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await put(queueId, [{ content: 'four' }]);
    const [row] = await pods.test.sql<{ size: number; bytes: number; key_id: number; properties: unknown }>(
      `select size_in_bytes as size, octet_length(body) as bytes, key_id, properties from towpath.message
       where queue_id = $1`,
      [await numberOf(queueId)],
    );
    expect(row).toMatchObject({ size: 4, bytes: 34, key_id: expect.any(Number), properties: null });
  });

  it('are read beside those of put_messages and those from before', async () => {
    const queueId = await client.createQueue({ compartmentId, acceptUnsealed: true });
    const id = await numberOf(queueId);
    await put(queueId, [{ content: 'sealed' }]);
    await pods.test.sql(`select towpath.put_messages($1, array['open'], properties => '{"a": "b"}')`, [id]);
    await pods.test.sql(`select towpath.put_packed_messages($1, 'old', '{3}', '{""}', '{null}', '{0}', '{3}')`, [id]);
    expect((await get(queueId)).map(({ content, metadata }) => ({ content, metadata }))).toEqual([
      { content: 'sealed', metadata: undefined },
      { content: 'open', metadata: { customProperties: { a: 'b' } } },
      { content: 'old', metadata: undefined },
    ]);
  });

  it('go to the consumer groups whose filters take them', async () => {
    const queueId = await client.createQueue({ compartmentId, capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    const body = {
      queueId,
      displayName: 'red',
      isEnabled: true,
      filter: ':colour = "red"',
    };
    const created = await client.call({ method: 'POST', path: '/consumerGroups', body });
    expect(created.status).toBe(202);
    await put(queueId, [colour('red'), colour('blue'), { content: 'none' }]);
    await put(queueId, [colour('red', { deduplicationId: 'a' }), colour('blue', { deduplicationId: 'b' })]);
    const [red] = await pods.test.sql<{ id: string }>(
      `select ocid as id from towpath.consumer_group where queue_id = $1 and display_name = 'red'`,
      [await numberOf(queueId)],
    );
    const found = await get(queueId, `limit=20&consumerGroupId=${red!.id}`);
    expect(found.map(({ content }) => content)).toEqual(['red', 'red']);
    expect(await get(queueId)).toHaveLength(5);
  });

  it('show the database their properties where the queue has got consumer groups unnoticed', async () => {
    const queueId = await client.createQueue({ compartmentId });
    await put(queueId, [{ content: 'before' }]);
    // As another pod would, whose notification is lost.
    await pods.test.sql(
      `select towpath.update_queue(tenancy_id, ocid, '{"capabilities": [{"type": "CONSUMER_GROUPS"}]}')
       from towpath.queue where ocid = $1`,
      [queueId],
    );
    await pods.test.sql(
      `insert into towpath.consumer_group (ocid, tenancy_id, queue_id, display_name, filter_path)
       select 'ocid1.unnoticed', tenancy_id, id, 'red', '$.colour == "red"' from towpath.queue where ocid = $1`,
      [queueId],
    );
    await put(queueId, [{ content: 'red', metadata: { customProperties: { colour: 'red' } } }, { content: 'none' }]);
    const rows = await pods.test.sql(
      'select consumer_group_id from towpath.message where queue_id = $1 and consumer_group_id <> 0',
      [await numberOf(queueId)],
    );
    expect(rows).toHaveLength(1);
  });

  it('that were altered, or moved to another queue, are given to nobody, keep nobody waiting, and die', async () => {
    const queueId = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 1 });
    const elsewhere = await client.createQueue({ compartmentId });
    await put(queueId, [{ content: 'altered' }, { content: 'good' }]);
    await put(elsewhere, [{ content: 'theirs' }]);
    const id = await numberOf(queueId);
    await pods.test.sql(
      `update towpath.message set body = set_byte(body, 20, get_byte(body, 20) # 1)
       where queue_id = $1 and id = (select min(id) from towpath.message where queue_id = $1)`,
      [id],
    );
    // With its key, as a whole: only the queue is another one.
    await pods.test.sql('update towpath.message set queue_id = $1 where queue_id = $2', [
      id,
      await numberOf(elsewhere),
    ]);
    await pods.test.sql(
      `insert into towpath.data_key select $1, id, created_at, coalesce(retired_at, created_at), sealed_messages, master_key_id, wrapped_key
       from towpath.data_key where queue_id = $2`,
      [id, await numberOf(elsewhere)],
    );
    const answer = await client.call({
      path: `/queues/${queueId}/messages?timeoutInSeconds=0&limit=20&visibilityInSeconds=1`,
    });
    // The data key of another queue does not unwrap here: that is told, and nothing is lost.
    expectError(answer, 409, 'IncorrectState', /cannot be unwrapped/);
    await pods.test.sql('delete from towpath.data_key where queue_id = $1 and retired_at is not null', [id]);
    const messages = await client.get(queueId, 'limit=20&visibilityInSeconds=1');
    expect(messages.map(({ content }) => content)).toEqual(['good']);
    const peeked = await client.call({ path: `/queues/${queueId}/messages/actions/peekMessages` });
    expect((peeked.json as { messages: { content: string; unreadable?: string }[] }).messages).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ content: '', unreadable: expect.stringMatching(/altered/) }),
        expect.objectContaining({ content: 'good' }),
      ]),
    );
    const metrics = await client.call({ path: '/metrics', root: true });
    expect(metrics.text).toMatch(/towpath_unreadable_messages_total [1-9]/);
    const dead = async (): Promise<number> =>
      (
        await pods.test.sql<{ count: number }>(
          `select count(*) as count from towpath.message where queue_id = $1 and dead_letter`,
          [id],
        )
      )[0]!.count;
    const deadline = Date.now() + 20_000;
    while ((await dead()) < 2 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await dead()).toBeGreaterThanOrEqual(2);
  });
});
