import pg from 'pg';
import { Writable } from 'node:stream';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { createLogger } from '../../src/operations/log.js';
import { errorDetails } from '../../src/operations/error-details.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, parseAnswer, sendBytes, type Call } from './support.js';

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly reqId?: string;
  readonly status?: number;
  readonly code?: string;
  readonly path?: string;
  readonly err?: { readonly message: string; readonly stack?: string };
}

const SECRET = 'planted-s3cret';

describe('the log', () => {
  let pods: TestPods;
  let pod: Pod;
  let client: Client;
  let queueId: string;
  let text = '';

  beforeAll(async () => {
    pods = await startTestPods();
    const configuration = readConfiguration({
      DATABASE_URL: pods.test.url,
      TOWPATH_DATA_DIR: pods.dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
    });
    const destination = new Writable({
      write: (chunk: Buffer, _, done) => {
        text += chunk.toString();
        done();
      },
    });
    // Everything there is, down to the last detail.
    pod = await startPod(configuration, pods.test.url, createLogger('trace', destination));
    client = new Client(pod.url, pods.credentials.apiKey);
    queueId = await client.createQueue({
      compartmentId: pods.credentials.compartmentId,
      displayName: `name-${SECRET}`,
    });
  });
  afterAll(async () => {
    client.close();
    await pod.stop();
    await pods.stop();
  });
  beforeEach(() => {
    text = '';
  });

  const lines = (): Line[] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
  /** The response arrives before its line is written. */
  const linesOf = async (requestId: string): Promise<Line[]> => {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const found = lines().filter(({ reqId }) => reqId === requestId);
      if (found.length > 0 || Date.now() > deadline) return found;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const call = async (request: Call): Promise<Line> => {
    const answer = await client.call(request);
    const found = await linesOf(String(answer.headers['opc-request-id']));
    expect(found).toHaveLength(1);
    expect(found[0]!.status).toBe(answer.status);
    return found[0]!;
  };

  it('has one line per failed request, with its id, status and code', async () => {
    const body = { messages: [{ content: 5 }] };
    expect(await call({ path: '/nothing' })).toMatchObject({ level: 'info', status: 404, code: 'NotFound' });
    expect(await call({ path: '/queues', apiKey: null })).toMatchObject({ status: 401, code: 'NotAuthenticated' });
    expect(await call({ path: '/queues?limit=0' })).toMatchObject({
      level: 'info',
      status: 400,
      code: 'InvalidParameter',
      path: '/20210201/queues?limit=0',
    });
    expect(await call({ method: 'POST', path: `/queues/${queueId}/messages`, body })).toMatchObject({ status: 400 });
    expect(await call({ method: 'POST', path: '/queues', body: 'x'.repeat(2_000_000) })).toMatchObject({ status: 413 });
    expect(await call({ path: '/queues/%' })).toMatchObject({ status: 400, code: 'CannotParseRequest' });
    expect(await call({ path: `/queues/${'x'.repeat(1025)}` })).toMatchObject({ status: 414, code: 'URITooLong' });
    expect(await call({ path: '/queues', headers: { large: 'x'.repeat(20_000) } })).toMatchObject({ status: 431 });
    const broken = parseAnswer(await sendBytes(client.url, 'hello\r\n\r\n'));
    expect(await linesOf(String(broken.headers['opc-request-id']))).toMatchObject([{ status: 400 }]);
  });

  it('tells of requests that went well only when it is asked for details', async () => {
    expect(await call({ path: '/queues' })).toMatchObject({ level: 'debug', status: 200 });
  });

  it('tells what happened where it is our fault, in the same line', async () => {
    await pods.test.sql(`alter function towpath.get_stats(bigint, bigint, text) rename to get_stats_away`);
    try {
      const line = await call({ path: `/queues/${queueId}/stats` });
      expect(line).toMatchObject({ level: 'error', status: 500, code: 'InternalServerError' });
      expect(line.err?.message).toMatch(/get_stats/);
      expect(line.err?.stack).toMatch(/\bat /);
    } finally {
      await pods.test.sql(`alter function towpath.get_stats_away(bigint, bigint, text) rename to get_stats`);
    }
  });

  it('holds no contents and no credentials, whatever goes wrong', async () => {
    const put = { method: 'POST', path: `/queues/${queueId}/messages` };
    const message = {
      content: `content ${SECRET}`,
      metadata: { channelId: 'ch', customProperties: { [`key-${SECRET}`]: `value ${SECRET}` } },
    };
    await call({ ...put, body: { messages: [message] } });
    await call({ ...put, body: { messages: [message, { content: 5 }] } });
    await call({ ...put, body: `{"messages":[{"content":"${SECRET}` });
    await call({ ...put, body: SECRET });
    await call({ ...put, body: { messages: [message] }, headers: { 'content-type': 'text/plain' } });
    await call({ ...put, body: { messages: [message] }, apiKey: `towpath_${SECRET}` });
    await call({ ...put, body: { messages: [message] }, headers: { authorization: `Signature ${SECRET}` } });
    await call({ path: '/queues', headers: { cookie: SECRET, 'x-api-key': SECRET, 'proxy-authorization': SECRET } });
    // PostgreSQL quotes the row that breaks a rule, and the JSON that it cannot read.
    await pods.test.sql(`alter table towpath.message add constraint planted check (channel_id <> 'ch') not valid`);
    try {
      expect(await call({ ...put, body: { messages: [message] } })).toMatchObject({ status: 500 });
    } finally {
      await pods.test.sql(`alter table towpath.message drop constraint planted`);
    }
    expect(text).toMatch(/planted"/);
    await call({
      method: 'PUT',
      path: `/queues/${queueId}`,
      body: { displayName: `another ${SECRET}`, visibilityInSeconds: 0 },
    });
    await sendBytes(client.url, `GET / HTTP/1.1\r\nauthorization: ${SECRET}\r\nbroken\r\n\r\n`);
    expect(lines().length).toBeGreaterThan(10);
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(client.apiKey);
    expect(text).not.toMatch(/authorization|Bearer|content s|BEGIN/i);
  });

  it('describes errors of PostgreSQL without the values in them', () => {
    const error = new pg.DatabaseError(`invalid input syntax for type integer: "${SECRET} 1"`, 1, 'error');
    Object.assign(error, {
      severity: 'ERROR',
      code: '22P02',
      detail: `Failing row contains (${SECRET}).`,
      where: `JSON data, line 1: ${SECRET}\nPL/pgSQL function towpath.f(bigint) line 3 at SQL statement\nSQL statement "${SECRET}"`,
      hint: SECRET,
      internalQuery: SECRET,
    });
    const details = errorDetails(new Error('outer', { cause: error }));
    expect(JSON.stringify(details)).not.toContain(SECRET);
    expect(details.cause).toMatchObject({
      code: '22P02',
      sql: 'PL/pgSQL function towpath.f(bigint) line 3 at SQL statement',
      message: 'invalid input syntax for type integer: "…"',
    });
    expect(errorDetails('text')).toEqual({ type: 'string', message: 'text' });
    const circular: { cause?: unknown; message: string } = { message: 'round' };
    circular.cause = circular;
    expect(JSON.stringify(errorDetails(circular)).length).toBeLessThan(1000);
  });
});
