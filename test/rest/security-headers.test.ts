import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LOGO_STYLE } from '../../src/rest/security-headers.js';
import { ROOT } from '../docs/documents.js';
import { operationsOf, type Document } from '../openapi/document.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, parseAnswer, sendBytes, type Answer } from './support.js';

const EXPECTED = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};
const STRICT = "default-src 'none'; frame-ancestors 'none'";

const expectHeaders = (answer: Answer, policy = STRICT): void => {
  expect(answer.headers).toMatchObject({
    ...EXPECTED,
    'content-security-policy': policy,
    'cache-control': 'no-store',
  });
  expect(answer.headers).not.toHaveProperty('strict-transport-security');
  expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  expect(answer.headers).not.toHaveProperty('server');
  expect(answer.headers).not.toHaveProperty('x-powered-by');
};

describe('what every answer has for browsers', () => {
  let pods: TestPods;
  let client: Client;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  it('is there on all routes, with credentials and without', async () => {
    const document = (await client.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    const operations = operationsOf(document);
    expect(operations.length).toBeGreaterThan(20);
    for (const { method, path } of operations) {
      for (const apiKey of [client.apiKey, null]) {
        expectHeaders(await client.call({ method, path: path.replaceAll(/[{}]/g, ''), root: true, apiKey }));
      }
    }
    for (const path of ['/openapi.json', '/openapi.yaml']) expectHeaders(await client.call({ path, root: true }));
  });

  it('is there on every kind of error', async () => {
    const answers = [
      await client.call({ path: '/nothing' }),
      await client.call({ method: 'PATCH', path: '/queues' }),
      await client.call({ path: '/queues/%' }),
      await client.call({ path: `/queues/${'x'.repeat(1025)}` }),
      await client.call({ path: '/queues', headers: { large: 'x'.repeat(20_000) } }),
      await client.call({ method: 'POST', path: '/queues', body: '{' }),
      await client.call({ method: 'POST', path: '/queues', body: 'x'.repeat(3_000_000) }),
      await client.call({ method: 'POST', path: '/queues', body: 'x', headers: { 'content-type': 'text/plain' } }),
      parseAnswer(await sendBytes(client.url, 'hello\r\n\r\n')),
      parseAnswer(await sendBytes(client.url, 'CONNECT x HTTP/1.1\r\nhost: x\r\n\r\n')),
      parseAnswer(await sendBytes(client.url, 'GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n')),
    ];
    expect(answers.map(({ status }) => status)).toEqual([404, 405, 400, 414, 431, 400, 413, 415, 400, 405, 400]);
    for (const answer of answers) expectHeaders(answer);
  });

  it('is there on a failure of ours, which shows nothing of the inside', async () => {
    await pods.test.sql(`alter table towpath.queue rename to queue_away`);
    try {
      const answer = await client.call({ path: '/queues' });
      expect(answer.status).toBe(500);
      expectHeaders(answer);
      expect(answer.text).not.toMatch(/queue_away|\bat .+:\d+|node_modules|relation|42P01/);
    } finally {
      await pods.test.sql(`alter table towpath.queue_away rename to queue`);
    }
  });

  it('lets the pages of /docs load what they need from here, and nothing else', async () => {
    for (const path of ['/docs', '/docs/']) {
      const page = await client.call({ path, root: true });
      expect(page.status).toBe(200);
      const policy = String(page.headers['content-security-policy']);
      expectHeaders(page, policy);
      // No word of the page's own runs, and no style but what is known by its digest.
      expect(policy).toMatch(/(^|; )script-src 'self'(;|$)/);
      expect(policy).toMatch(/^default-src 'none';/);
      expect(policy).not.toMatch(/unsafe-eval|https?:|\*|script-src[^;]*unsafe|style-src-elem[^;]*unsafe/);
      const styles = [...page.text.matchAll(/<style[^>]*>([\s\S]*?)<\/style>/g)];
      expect(styles.length).toBeGreaterThan(0);
      for (const [, style = ''] of styles) {
        expect(policy).toContain(`'sha256-${createHash('sha256').update(style).digest('base64')}'`);
      }
      expect(policy).toContain(createHash('sha256').update(LOGO_STYLE).digest('base64'));
      expect(page.text).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>/);
      expect(page.text).not.toMatch(/\son\w+\s*=/);
      const files = [...page.text.matchAll(/(?:src|href)=["']([^"']+)["']/g)].map(([, file = '']) => file);
      expect(files.length).toBeGreaterThan(3);
      for (const file of files) {
        const found = new URL(file, `${client.url}${path}`);
        expect(found.origin).toBe(client.url);
        const { status, headers } = await client.call({ path: found.pathname, root: true });
        expect([file, status, headers]).toMatchObject([file, 200, EXPECTED]);
      }
    }
  });
});

it("knows Swagger UI's own style sheet as it is in this version of it", () => {
  const bundle = readFileSync(join(ROOT, 'node_modules/swagger-ui-dist/swagger-ui-standalone-preset.js'), 'utf8');
  expect(bundle).toContain(LOGO_STYLE);
});

describe('calls from web pages of other origins', () => {
  const CONSOLE = 'https://console.example.com';
  let pods: TestPods;
  let client: Client;

  beforeAll(async () => {
    pods = await startTestPods(1, { TOWPATH_CORS_ORIGINS: `${CONSOLE},http://localhost:3000` });
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const preflight = (origin: string): Promise<Answer> =>
    client.call({
      method: 'OPTIONS',
      path: '/queues',
      apiKey: null,
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
    });

  it('are let in where the configuration names the origin', async () => {
    const asked = await preflight(CONSOLE);
    expect(asked).toMatchObject({ status: 204, text: '' });
    expect(asked.headers).toMatchObject({
      'access-control-allow-origin': CONSOLE,
      'access-control-allow-methods': 'GET, POST, PUT, DELETE',
      'access-control-allow-headers': expect.stringContaining('authorization'),
      vary: 'origin',
    });
    expect(asked.headers).not.toHaveProperty('access-control-allow-credentials');
    const listed = await client.call({ path: '/queues', headers: { origin: CONSOLE } });
    expect(listed).toMatchObject({ status: 200, headers: { 'access-control-allow-origin': CONSOLE } });
    expect(listed.headers['access-control-expose-headers']).toContain('opc-next-page');
    // A page has to be able to read what is wrong.
    const refused = await client.call({ path: '/queues', apiKey: null, headers: { origin: CONSOLE } });
    expect(refused).toMatchObject({ status: 401, headers: { 'access-control-allow-origin': CONSOLE } });
  });

  it.each(['https://evil.example', `${CONSOLE}.evil.example`, 'http://console.example.com', 'null', ''])(
    'are not let in from %j',
    async (origin) => {
      const asked = await preflight(origin);
      expect(asked.status).toBe(405);
      const answer = await client.call({ path: '/queues', headers: { origin } });
      for (const { headers } of [asked, answer]) {
        expect(headers).not.toHaveProperty('access-control-allow-origin');
        expect(headers).toMatchObject({ vary: 'origin' });
      }
    },
  );

  it('are not asked for where no browser does', async () => {
    const plain = await client.call({ method: 'OPTIONS', path: '/queues', headers: { origin: CONSOLE } });
    expect(plain.status).toBe(405);
  });
});
