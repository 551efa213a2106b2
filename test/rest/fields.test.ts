import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, type Answer } from './support.js';

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe('fields: ranges, edges and how they are written', () => {
  let pods: TestPods;
  let client: Client;
  let compartmentId: string;
  let queueId: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
    queueId = await client.createQueue({ compartmentId, displayName: 'fields', deadLetterQueueDeliveryCount: 0 });
    await client.put(queueId, 'a');
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const create = (details: object): Promise<Answer> =>
    client.call({ method: 'POST', path: '/queues', body: { displayName: 'x', compartmentId, ...details } });
  const queueOf = async (answer: Answer): Promise<Record<string, unknown>> => {
    const id = String(answer.headers['opc-work-request-id']);
    const { resources } = (await client.call({ path: `/workRequests/${id}` })).json as {
      resources: { identifier: string }[];
    };
    return (await client.call({ path: `/queues/${resources[0]!.identifier}` })).json!;
  };

  const named = async (displayName: string, query: string): Promise<boolean> => {
    await create({ displayName });
    const { items } = (await client.call({ path: `/queues?displayName=${query}` })).json as {
      items: { displayName: string }[];
    };
    return items.length > 0 && items.every((item) => item.displayName === displayName);
  };

  const putInto = (channelId: unknown): Promise<Answer> =>
    client.call({
      method: 'POST',
      path: `/queues/${queueId}/messages`,
      body: { messages: [{ content: 'x', metadata: { channelId } }] },
    });

  const putLater = (delayInSeconds: unknown, id = queueId): Promise<Answer> =>
    client.call({
      method: 'POST',
      path: `/queues/${id}/messages`,
      body: { messages: [{ content: 'x', delayInSeconds }] },
    });

  describe('integers of a queue', () => {
    const RANGES: [string, number, number, number][] = [
      ['retentionInSeconds', 10, 604_800, 86_400],
      ['visibilityInSeconds', 1, 43_200, 30],
      ['timeoutInSeconds', 0, 30, 30],
      ['channelConsumptionLimit', 1, 100, 100],
      ['deadLetterQueueDeliveryCount', 0, 20, 5],
    ];

    it.each(RANGES)('%s is from %i to %i, %i where it is absent or null', async (field, low, high, usual) => {
      for (const value of [low, high]) {
        const answer = await create({ [field]: value });
        expect([field, value, answer.status]).toEqual([field, value, 202]);
        expect((await queueOf(answer))[field]).toBe(value);
      }
      for (const absent of [{}, { [field]: null }]) expect((await queueOf(await create(absent)))[field]).toBe(usual);
      const wrong = [low - 1, high + 1, low + 0.5, -1, 2 ** 31, 2 ** 53, 1e300, String(low), '', true, [low], { a: 1 }];
      for (const value of wrong) {
        const range = new RegExp(`${field} must be an integer from ${low} to ${high}; it is`);
        expectError(await create({ [field]: value }), 400, 'InvalidParameter', range);
        if (field !== 'retentionInSeconds') {
          const body = { [field]: value };
          expectError(
            await client.call({ method: 'PUT', path: `/queues/${queueId}`, body }),
            400,
            'InvalidParameter',
            range,
          );
        }
      }
      // 1e400 is JSON and infinite; 10.0 is an integer.
      const written = async (number: string): Promise<Answer> =>
        client.call({
          method: 'POST',
          path: '/queues',
          body: `{"displayName":"x","compartmentId":"${compartmentId}","${field}":${number}}`,
        });
      expectError(await written('1e400'), 400, 'InvalidParameter');
      expect((await written(`${low}.0`)).status).toBe(202);
    });

    it('ignores a retention in an update: it cannot be changed', async () => {
      const body = { retentionInSeconds: 100 };
      expect((await client.call({ method: 'PUT', path: `/queues/${queueId}`, body })).status).toBe(202);
      expect((await client.call({ path: `/queues/${queueId}` })).json).toMatchObject({ retentionInSeconds: 86_400 });
    });
  });

  describe('texts of a queue', () => {
    it.each([
      ['one letter', 'a'],
      ['255 letters', 'a'.repeat(255)],
      ['255 letters beyond the basic plane', '🛶'.repeat(255)],
      ['255 control characters', '\u0001'.repeat(255)],
      ['a quote and SQL', `'; drop table towpath.queue; --`],
      ['right to left', '\u202eشراع'],
    ])('displayName may be %s', async (_, displayName) => {
      const answer = await create({ displayName });
      expect(answer.status).toBe(202);
      expect((await queueOf(answer))['displayName']).toBe(displayName);
      const path = `/queues?sortBy=displayName&limit=1&displayName=${encodeURIComponent(displayName)}`;
      expect((await client.call({ path })).json).toMatchObject({ items: [{ displayName }] });
    });

    it('pages through names however they are written', async () => {
      for (const displayName of ['\u0001'.repeat(255), '🛶'.repeat(255), '"\\'.repeat(127)])
        await create({ displayName });
      let path = '/queues?sortBy=displayName&limit=1';
      for (let pages = 0; pages < 500; pages += 1) {
        const answer = await client.call({ path });
        expect(answer.status).toBe(200);
        const next = answer.headers['opc-next-page'];
        if (next === undefined) return;
        path = `/queues?sortBy=displayName&limit=1&page=${String(next)}`;
      }
      throw new Error('the list has no end');
    });

    it.each([
      ['empty', ''],
      ['256 letters', 'a'.repeat(256)],
      ['256 letters beyond the basic plane', '🛶'.repeat(256)],
      ['a NUL', 'a\0b'],
      ['half a surrogate pair', 'a\ud83d'],
      ['a number', 5],
      ['an object', {}],
    ])('displayName may not be %s', async (_, displayName) => {
      expectError(await create({ displayName }), 400, 'InvalidParameter', /displayName must be/);
    });

    it('takes tags as they are', async () => {
      const freeformTags = { a: '', ünï: 'x'.repeat(1024), constructor: 'c', toString: 't', '': undefined };
      const definedTags = { ns: { s: 'a\\u0000b', n: 1.5, b: false, x: null, o: { a: [1, { b: 'c' }] } }, empty: {} };
      const queue = await queueOf(await create({ freeformTags, definedTags }));
      expect(queue['freeformTags']).toEqual(freeformTags);
      expect(queue['definedTags']).toEqual(definedTags);
    });

    it.each([
      ['freeformTags', { a: 1 }],
      ['freeformTags', { '': 'a' }],
      ['freeformTags', { ['k'.repeat(101)]: 'a' }],
      ['freeformTags', { a: 'x'.repeat(1025) }],
      ['freeformTags', { 'a\0': 'b' }],
      ['freeformTags', { a: '\udc00' }],
      ['freeformTags', ['a']],
      ['freeformTags', 'a'],
      ['freeformTags', Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`k${index}`, 'v']))],
      ['freeformTags', JSON.parse('{"__proto__":"x"}')],
      ['definedTags', { a: 1 }],
      ['definedTags', { a: { b: 'x\0' } }],
      ['definedTags', { a: { b: { '\ud800': 1 } } }],
      ['definedTags', { a: { b: 'é'.repeat(8200) } }],
      ['definedTags', { a: JSON.parse('{"__proto__":{"x":1}}') }],
      ['definedTags', { a: { b: [[[[[[[[1]]]]]]]] } }],
      ['capabilities', [{}]],
      ['capabilities', [{ type: 'OTHER' }]],
      ['capabilities', ['LARGE_MESSAGES']],
      ['capabilities', { type: 'LARGE_MESSAGES' }],
      ['capabilities', Array.from({ length: 9 }, () => ({ type: 'LARGE_MESSAGES' }))],
    ])('refuses %s %j', async (field, value) => {
      const { json } = await create({ [field]: value });
      expect(json).toMatchObject({ code: expect.stringMatching(/InvalidParameter|MissingParameter/) });
      expect(json!['message']).toMatch(new RegExp(`^${field}`));
    });

    it('keeps of a capability what it knows', async () => {
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      const body = `{"displayName":"x","compartmentId":"${compartmentId}","capabilities":[{"type":"LARGE_MESSAGES","a":"\\u0000","b":${deep}}]}`;
      const answer = await client.call({ method: 'POST', path: '/queues', body });
      expect(answer.status).toBe(202);
      expect((await queueOf(answer))['capabilities']).toEqual([{ type: 'LARGE_MESSAGES' }]);
    });
  });

  describe('queries', () => {
    it.each([
      ['visibilityInSeconds', 0, 43_200],
      ['timeoutInSeconds', 0, 30],
      ['limit', 1, 20],
    ])('%s of getMessages is from %i to %i', async (field, low, high) => {
      const others = field === 'visibilityInSeconds' ? 'limit=1' : 'visibilityInSeconds=0';
      const call = (value: string): Promise<Answer> =>
        client.call({ path: `/queues/${queueId}/messages?timeoutInSeconds=0&${others}&${field}=${value}` });
      // The same name twice is no number.
      const name = field === 'timeoutInSeconds' ? `/queues/${queueId}/messages?visibilityInSeconds=0&${field}=` : null;
      const get = (value: string): Promise<Answer> =>
        name === null ? call(value) : client.call({ path: name + value });
      expect((await get(String(low))).status).toBe(200);
      await client.put(queueId, 'another');
      expect((await get(String(high))).status).toBe(200);
      await client.put(queueId, 'another');
      const wrong = [
        '',
        String(low - 1),
        String(high + 1),
        '1.0',
        '1e0',
        '0x1',
        '+1',
        ' 1',
        '1 ',
        '%201',
        'NaN',
        'null',
        '١',
      ];
      for (const value of wrong) {
        const answer = await get(encodeURI(value).replace('%25', '%'));
        expectError(answer, 400, 'InvalidParameter', new RegExp(`${field} must be an integer from ${low} to ${high}`));
      }
    });

    it.each(['/queues', '/workRequests', 'logs', 'errors', 'channels'])(
      'limit of %s is from 1 to 1000',
      async (list) => {
        const { items } = (await client.call({ path: '/workRequests' })).json as { items: { id: string }[] };
        const path = list.startsWith('/')
          ? list
          : list === 'channels'
            ? `/queues/${queueId}/channels`
            : `/workRequests/${items[0]!.id}/${list}`;
        for (const limit of [1, 1000]) expect((await client.call({ path: `${path}?limit=${limit}` })).status).toBe(200);
        for (const limit of ['0', '1001', '-1', 'x', '', '1&limit=1']) {
          expectError(await client.call({ path: `${path}?limit=${limit}` }), 400, 'InvalidParameter', /limit must be/);
        }
        for (const page of ['x', '', 'AAAA', 'x'.repeat(5000), '%00', '1&page=1']) {
          expectError(await client.call({ path: `${path}?page=${page}` }), 400, 'InvalidParameter', /page/);
        }
      },
    );

    it.each([
      ['lifecycleState', 'active'],
      ['lifecycleState', 'GONE'],
      ['sortBy', 'name'],
      ['sortBy', 'TIMECREATED'],
      ['sortOrder', 'UP'],
      ['sortOrder', ''],
      ['displayName', ''],
      ['id', ''],
      ['id', 'x'.repeat(256)],
      ['compartmentId', ''],
    ])('refuses the %s %j', async (field, value) => {
      expectError(await client.call({ path: `/queues?${field}=${value}` }), 400, 'InvalidParameter', new RegExp(field));
    });

    it('takes sortOrder in any case', async () => {
      for (const order of ['asc', 'Asc', 'ASC', 'desc', 'DESC']) {
        expect((await client.call({ path: `/queues?sortOrder=${order}` })).status).toBe(200);
      }
    });

    it('ignores parameters that it does not know', async () => {
      const path = '/queues?nothing=1&__proto__=x&constructor=y&toString=z&&=&limit=1&%';
      expect((await client.call({ path })).status).toBe(200);
    });

    it.each([
      ['a plus as a plus', 'one+two', 'one+two'],
      ['an encoded plus', 'three+four', 'three%2Bfour'],
      ['an encoded space', 'five six', 'five%20six'],
      ['an encoded letter', 'seven', '%73even'],
      ['a slash, a question mark, an equals sign', 'a/b?c=d', 'a/b?c=d'],
      ['an encoded ampersand', 'a&b#c', 'a%26b%23c'],
      ['what is not percent-encoding', '100% sure', '100%%20sure'],
      ['half of it', '50%', '50%'],
      ['bytes that are no UTF-8, as they stand', '%ff', '%ff'],
    ])('reads %s', async (_, displayName, query) => {
      expect(await named(displayName, query)).toBe(query !== '100%%20sure');
    });

    it('refuses a repeated parameter', async () => {
      for (const query of ['displayName=a&displayName=b', 'id=a&id=a', 'sortBy=timeCreated&sortBy=timeCreated']) {
        expectError(await client.call({ path: `/queues?${query}` }), 400, 'InvalidParameter', /it is an array of 2/);
      }
    });
  });

  describe('channels', () => {
    it.each(['a', 'x'.repeat(64), 'A-z_0.9', '.', '..', 'DLQ', 'constructor', '__proto__'])('may be %s', async (id) => {
      expect((await putInto(id)).status).toBe(200);
      const got = await client.get(queueId, `channelFilter=${id}`);
      expect(got).toMatchObject([{ metadata: { channelId: id } }]);
      const path = `/queues/${queueId}/channels?channelFilter=${id}`;
      expect((await client.call({ path })).json).toEqual({ items: [id] });
    });

    it.each(['', 'x'.repeat(65), 'a b', 'a/b', 'é', 'dlq', 'a\n', 'a\0', 5, {}, []])('may not be %j', async (id) => {
      expectError(await putInto(id), 400, 'InvalidParameter', /channelId must/);
    });

    it('may be absent, or null', async () => {
      expect((await putInto(null)).status).toBe(200);
      expect((await putInto(undefined)).status).toBe(200);
    });

    it('named dlq is asked for in vain', async () => {
      expect(await client.get(queueId, 'channelFilter=dlq')).toEqual([]);
    });
  });

  describe('a delay, as an extension', () => {
    it('is below the retention', async () => {
      const short = await client.createQueue({ compartmentId, retentionInSeconds: 100 });
      expect((await putLater(99, short)).status).toBe(200);
      expectError(await putLater(100, short), 400, 'InvalidParameter', /retention/);
      expect((await putLater(86_399)).status).toBe(200);
      expectError(await putLater(86_400), 400, 'InvalidParameter');
      for (const wrong of [-1, 604_800, 1.5, '1']) expectError(await putLater(wrong), 400, 'InvalidParameter', /delay/);
      expect((await putLater(null)).status).toBe(200);
    });

    it('hides the message for so long', async () => {
      const id = await client.createQueue({ compartmentId });
      expect((await putLater(2, id)).status).toBe(200);
      expect(await client.get(id)).toEqual([]);
      const waited = await client.call({ path: `/queues/${id}/messages?timeoutInSeconds=20` });
      const [message] = (waited.json as { messages: { createdAt: string; deliveryCount: number }[] }).messages;
      expect(message).toMatchObject({ deliveryCount: 1 });
      expect(Date.now() - Date.parse(message!.createdAt)).toBeGreaterThanOrEqual(1900);
    });
  });

  it('writes every time with milliseconds and Z', async () => {
    const times: string[] = [];
    const collect = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      for (const [name, entry] of Object.entries(value)) {
        if (/^time|At$|After$|timestamp/.test(name) && typeof entry === 'string') times.push(entry);
        collect(entry);
      }
    };
    await client.put(queueId, 'a');
    const { items } = (await client.call({ path: '/workRequests?limit=1' })).json as { items: { id: string }[] };
    for (const path of [
      '/queues?limit=5',
      `/queues/${queueId}`,
      '/workRequests?limit=5',
      `/workRequests/${items[0]!.id}`,
      `/workRequests/${items[0]!.id}/logs`,
      `/queues/${queueId}/messages?timeoutInSeconds=0&limit=5`,
    ]) {
      collect((await client.call({ path })).json);
    }
    const stored = await client.call({
      method: 'POST',
      path: `/queues/${queueId}/messages`,
      body: { messages: [{ content: 'b' }] },
    });
    collect(stored.json);
    expect(times.length).toBeGreaterThan(20);
    for (const time of times) expect(time).toMatch(TIME);
  });
});
