import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, expectErrorShape, parseAnswer, sendBytes, type Answer } from './support.js';

describe('errors on the wire', () => {
  let pods: TestPods;
  let client: Client;
  let queueId: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    queueId = await client.createQueue({ compartmentId: pods.credentials.compartmentId });
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const raw = async (...chunks: (string | Buffer)[]): Promise<Answer> =>
    parseAnswer(await sendBytes(client.url, ...chunks));
  /** The beginning of a request, up to where a test goes on. */
  const head = (start: string, ...headers: string[]): string =>
    [`${start} HTTP/1.1`, 'host: x', `authorization: Bearer ${client.apiKey}`, ...headers, ''].join('\r\n');
  const JSON_TYPE = 'content-type: application/json';

  describe('routes and methods', () => {
    it.each(['/', '/20210201', '/20210201/', '/20210201/nothing', '/20210201/queues/', '/20210201/Queues', '/queues'])(
      'answers %s, which is nothing, with 404 NotFound',
      async (path) => {
        for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
          expectError(await client.call({ method, path, root: true }), 404, 'NotFound');
        }
        expectError(await client.call({ path, root: true, apiKey: null }), 404, 'NotFound');
      },
    );

    it.each([
      ['/queues', 'GET, POST'],
      ['/queues/x', 'DELETE, GET, PUT'],
      ['/queues/x/messages', 'GET, POST'],
      ['/queues/x/messages/y', 'DELETE, PUT'],
      ['/queues/x/messages/actions/deleteMessages', 'POST'],
      ['/queues/x/messages/actions/updateMessages', 'POST'],
      ['/queues/x/actions/purge', 'POST'],
      ['/queues/x/actions/changeCompartment', 'POST'],
      ['/queues/x/stats', 'GET'],
      ['/queues/x/channels', 'GET'],
      ['/workRequests', 'GET'],
      ['/workRequests/x', 'DELETE, GET'],
      ['/workRequests/x/errors', 'GET'],
      ['/workRequests/x/logs?limit=1', 'GET'],
    ])('answers wrong methods on %s with 405 and Allow: %s', async (path, allow) => {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
        if (allow.includes(method)) continue;
        const answer = await client.call({ method, path });
        expectError(answer, 405, 'MethodNotAllowed');
        expect(answer.headers['allow']).toBe(allow);
      }
    });

    it('has no HEAD, which would deliver messages to nobody', async () => {
      await client.put(queueId, 'a');
      const answer = await client.call({ method: 'HEAD', path: `/queues/${queueId}/messages?timeoutInSeconds=0` });
      expect(answer).toMatchObject({ status: 405, headers: { allow: 'GET, POST' }, text: '' });
      expect(await client.get(queueId)).toHaveLength(1);
    });

    it('refuses CONNECT and methods that HTTP does not have', async () => {
      expectError(await raw(`${head('CONNECT /20210201/queues')}\r\n`), 405, 'MethodNotAllowed');
      expectError(await raw(`${head('FOO /20210201/queues')}\r\n`), 400, 'CannotParseRequest');
    });
  });

  describe('bodies', () => {
    const BROKEN: [string, string | Buffer][] = [
      ['half an object', '{'],
      ['a word', 'hello'],
      ['null', 'null'],
      ['an array', '[]'],
      ['a string', '"a"'],
      ['a number', '1'],
      ['true', 'true'],
      ['two objects', '{}{}'],
      ['something after it', '{}x'],
      ['single quotes', "{'a':1}"],
      ['a trailing comma', '{"a":1,}'],
      ['a comment', '{"a":1/*b*/}'],
      ['NaN', '{"a":NaN}'],
      ['a byte order mark', '\ufeff{}'],
      ['Latin-1', Buffer.from('{"displayName":"\xe9"}', 'latin1')],
      ['an overlong encoding', Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d])],
      ['an encoded surrogate', Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d])],
      ['UTF-16', Buffer.from('{}', 'utf16le')],
      ['a NUL', Buffer.from([0])],
      ['100,000 open brackets', '['.repeat(100_000)],
      ['100,000 open objects', '{"a":'.repeat(100_000)],
    ];

    it.each(BROKEN)('answers %s with 400 CannotParseRequest', async (_, body) => {
      const paths = ['/queues', `/queues/${queueId}/messages`, `/queues/${queueId}/messages/actions/deleteMessages`];
      for (const path of paths) {
        expectError(await client.call({ method: 'POST', path, body }), 400, 'CannotParseRequest');
      }
      expectError(await client.call({ method: 'PUT', path: `/queues/${queueId}`, body }), 400, 'CannotParseRequest');
    });

    it.each(['', '{}', '{"displayName":null,"compartmentId":null}'])(
      'answers %j, in which all is missing, with 400 MissingParameter',
      async (body) => {
        const answer = await client.call({ method: 'POST', path: '/queues', body });
        expectError(answer, 400, 'MissingParameter', /displayName is missing.*compartmentId is missing/);
      },
    );

    it('names the field, its kind and its range', async () => {
      const path = `/queues/${queueId}`;
      const update = async (body: object): Promise<unknown> =>
        (await client.call({ method: 'PUT', path, body })).json?.['message'];
      expect(await update({ visibilityInSeconds: 43_201 })).toBe(
        'visibilityInSeconds must be an integer from 1 to 43200; it is the number 43201',
      );
      expect(await update({ timeoutInSeconds: '5', displayName: '' })).toMatch(
        /displayName must be a string of 1 to 255 characters.*; it is a string of 0 characters; timeoutInSeconds must be an integer from 0 to 30; it is a string of 1 characters/,
      );
      const many = await client.call({
        method: 'POST',
        path: `/queues/${queueId}/messages`,
        body: { messages: Array.from({ length: 20 }, () => ({ content: 5 })) },
      });
      expectError(many, 400, 'InvalidParameter', /messages\.0\.content.*messages\.4\.content.*\(and 15 more\)$/);
    });

    it('never repeats a value, which may be long or a secret', async () => {
      const secret = 'S3CRET'.repeat(1000);
      const answers = [
        await client.call({ method: 'POST', path: '/queues', body: { displayName: secret, compartmentId: secret } }),
        await client.call({ path: `/queues?limit=${secret}` }),
        await client.call({
          method: 'POST',
          path: `/queues/${queueId}/messages`,
          body: { messages: [{ content: 'a', metadata: { customProperties: { [secret]: 1, ok: [secret] } } }] },
        }),
      ];
      for (const answer of answers) {
        expectError(answer, 400, 'InvalidParameter');
        expect(answer.text).not.toContain(secret);
        expect(answer.text.length).toBeLessThan(2000);
      }
    });

    it.each([
      'text/plain',
      'application/xml',
      'multipart/form-data; boundary=x',
      'application/x-www-form-urlencoded',
      'application/merge-patch+json',
      'application/json, text/plain',
      'json',
      '/',
    ])('answers content-type %s with 415', async (type) => {
      const body = { displayName: 'x', compartmentId: pods.credentials.compartmentId };
      const answer = await client.call({ method: 'POST', path: '/queues', body, headers: { 'content-type': type } });
      expectError(answer, 415, 'UnsupportedMediaType');
    });

    it.each([
      'application/json',
      'APPLICATION/JSON',
      'application/json;charset=utf-8',
      'application/json ; charset=UTF-8',
    ])('takes content-type %s', async (type) => {
      const answer = await client.call({
        method: 'PUT',
        path: `/queues/${queueId}`,
        body: { displayName: 'named' },
        headers: { 'content-type': type },
      });
      expect(answer.status).toBe(202);
    });

    it('takes a content-type where there is no body, as the SDK sends it', async () => {
      const headers = { 'content-type': 'application/json' };
      expect((await client.call({ path: `/queues/${queueId}`, headers })).status).toBe(200);
      const own = await client.createQueue({ compartmentId: pods.credentials.compartmentId });
      expect((await client.call({ method: 'DELETE', path: `/queues/${own}`, headers })).status).toBe(202);
    });

    it('refuses a body by its content-length before it is read', async () => {
      const length = 'content-length: 50000000';
      // Not one byte of the body is sent.
      const answer = await raw(`${head('POST /20210201/queues', JSON_TYPE, length)}\r\n`);
      expectError(answer, 413, 'PayloadTooLarge');
      expect(answer.headers['connection']).toBe('close');
    });

    it('refuses a body while it arrives, where no length was said', async () => {
      const start = `${head('POST /20210201/queues', JSON_TYPE, 'transfer-encoding: chunked')}\r\n`;
      const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
      // It never ends: the answer must come before.
      expectError(await raw(start, ...Array.from({ length: 40 }, () => chunk)), 413, 'PayloadTooLarge');
    });

    it('refuses a large body without credentials too', async () => {
      const body = 'x'.repeat(2_000_000);
      expectError(await client.call({ method: 'POST', path: '/queues', body, apiKey: null }), 413, 'PayloadTooLarge');
    });
  });

  describe('broken and oversized HTTP', () => {
    it.each([
      ['no HTTP', 'hello\r\n\r\n'],
      ['TLS', Buffer.from('16030100f8010000f40303', 'hex')],
      ['a broken header', 'GET / HTTP/1.1\r\nhost x\r\n\r\n'],
      ['two lengths', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}'],
      [
        'a length and chunks',
        'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
      ['a broken chunk', 'POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n'],
      ['a bare line feed in a header', 'GET / HTTP/1.1\r\nhost: x\r\na: b\nc\r\n\r\n'],
    ])('answers %s with 400', async (_, bytes) => {
      const answer = await raw(bytes);
      expectError(answer, 400, 'CannotParseRequest');
      expect(answer.headers['connection']).toBe('close');
    });

    it('answers a request without Host with 400', async () => {
      expectError(
        await raw('GET /20210201/queues HTTP/1.1\r\nconnection: close\r\n\r\n'),
        400,
        'CannotParseRequest',
        /Host/,
      );
    });

    it('ignores an expectation that it does not know', async () => {
      const answer = await raw(`${head('GET /20210201/queues?limit=1', 'expect: wonders', 'connection: close')}\r\n`);
      expect(answer.status).toBe(200);
    });

    it('answers too large headers, too many of them, and too long URLs with 431', async () => {
      const tooMany = Array.from({ length: 3000 }, (_, index) => `h${index}: x`);
      const code = 'RequestHeaderFieldsTooLarge';
      expectError(await client.call({ path: '/queues', headers: { large: 'x'.repeat(20_000) } }), 431, code);
      expectError(await client.call({ path: `/queues?page=${'x'.repeat(20_000)}` }), 431, code);
      expectError(await raw(`${head('GET /20210201/queues', ...tooMany)}\r\n`), 431, code);
    });

    it('answers too long path parameters with 414, and takes 1,024 characters', async () => {
      const long = 'x'.repeat(1025);
      for (const path of [`/queues/${long}`, `/workRequests/${long}/logs`, `/queues/x/stats`.replace('x', long)]) {
        expectError(await client.call({ path }), 414, 'URITooLong');
      }
      expectError(
        await client.call({ method: 'DELETE', path: `/queues/${queueId}/messages/${long}` }),
        414,
        'URITooLong',
      );
      const fits = 'x'.repeat(1024);
      expectError(await client.call({ path: `/queues/${fits}` }), 404, 'NotAuthorizedOrNotFound');
      expectError(await client.call({ path: `/workRequests/${fits}` }), 404, 'NotAuthorizedOrNotFound');
      const receipt = { method: 'DELETE', path: `/queues/${queueId}/messages/${fits}` };
      expectError(await client.call(receipt), 400, 'InvalidParameter');
    });

    it.each(['%', '%zz', '%ff', '%c3%28', 'a%'])('answers the path parameter %s with 400', async (part) => {
      expectError(await client.call({ path: `/queues/${part}` }), 400, 'CannotParseRequest');
    });
  });

  describe('credentials', () => {
    it.each([
      ['none', null],
      ['a key of nobody', 'towpath_0000000000000000000000000000000000000000000'],
      ['no key at all', 'x'],
    ])('answers %s with 401 and the same text', async (_, apiKey) => {
      for (const path of ['/queues', `/queues/${queueId}/messages`, '/queues/nothing', '/workRequests/x/logs']) {
        expectError(await client.call({ path, apiKey }), 401, 'NotAuthenticated', /no credentials that are valid/);
      }
    });
  });

  describe('opc-request-id', () => {
    const made = /^[0-9A-F]{32}$/;

    it('comes back as it was sent, also with an error', async () => {
      const headers = { 'opc-request-id': '267C54C0E65F-11F1-A1F6/AF408145F151' };
      for (const path of ['/queues', '/queues/x', '/nothing', '/queues/%', `/queues/${'x'.repeat(1025)}`]) {
        expect((await client.call({ path, headers })).headers['opc-request-id']).toBe(headers['opc-request-id']);
      }
      const tooLarge = await client.call({ method: 'POST', path: '/queues', body: 'x'.repeat(2_000_000), headers });
      expect(tooLarge.headers['opc-request-id']).toBe(headers['opc-request-id']);
      const unknown = await client.call({ path: '/queues', headers, apiKey: null });
      expect(unknown.headers['opc-request-id']).toBe(headers['opc-request-id']);
    });

    it.each([
      ['absent', {}],
      ['empty', { 'opc-request-id': '' }],
      ['with a space', { 'opc-request-id': 'a b' }],
      ['too long', { 'opc-request-id': 'x'.repeat(129) }],
      ['not ASCII', { 'opc-request-id': 'é' }],
      ['there twice', { 'opc-request-id': ['a', 'b'] }],
    ])('is made where it is %s', async (_, headers) => {
      for (const path of ['/queues', '/nothing', '/queues/%']) {
        expect((await client.call({ path, headers })).headers['opc-request-id']).toMatch(made);
      }
    });

    it('differs from request to request, and is on what Node answers by itself too', async () => {
      const ids = [
        ...(await Promise.all(Array.from({ length: 5 }, () => client.call({ path: '/queues' })))),
        await raw('hello\r\n\r\n'),
        await client.call({ path: '/queues', headers: { large: 'x'.repeat(20_000) } }),
      ].map(({ headers }) => headers['opc-request-id']);
      expect(new Set(ids).size).toBe(ids.length);
      for (const id of ids) expect(id).toMatch(made);
    });
  });

  it('answers everything that was refused here in one shape', async () => {
    const answers = await Promise.all([
      client.call({ path: '/nothing' }),
      client.call({ method: 'PATCH', path: '/queues' }),
      client.call({ path: '/queues', apiKey: null }),
      client.call({ path: '/queues?limit=0' }),
      client.call({ path: '/queues/%' }),
      client.call({ method: 'POST', path: '/queues', body: '{' }),
      raw('hello\r\n\r\n'),
    ]);
    for (const answer of answers) expectErrorShape(answer);
  });

  it('still answers after all that', async () => {
    expect((await client.call({ path: '/queues' })).status).toBe(200);
    expect((await client.call({ path: '/livez', root: true, apiKey: null })).json).toEqual({ status: 'alive' });
    expect((await client.call({ path: '/readyz', root: true, apiKey: null })).json).toEqual({ status: 'ready' });
  });
});
