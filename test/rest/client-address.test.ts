import { Writable } from 'node:stream';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { createLogger } from '../../src/operations/log.js';
import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client } from './support.js';

describe('the address of a client in the log', () => {
  let pods: TestPods;
  beforeAll(async () => {
    pods = await startTestPods();
  });
  afterAll(() => pods.stop());

  /** What the log says of a request with this X-Forwarded-For, at a pod behind so many proxies. */
  const logged = async (hops: number, ...forwarded: (string | null)[]): Promise<unknown[]> => {
    let text = '';
    const destination = new Writable({
      write: (chunk: Buffer, _, done) => {
        text += chunk.toString();
        done();
      },
    });
    const environment = {
      DATABASE_URL: pods.test.url,
      TOWPATH_DATA_DIR: pods.dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_BEHIND_PROXY: String(hops),
    };
    const pod: Pod = await startPod(readConfiguration(environment), pods.test.url, createLogger('info', destination));
    const client = new Client(pod.url, pods.credentials.apiKey);
    const found: unknown[] = [];
    try {
      for (const value of forwarded) {
        text = '';
        await client.call({ path: '/nothing', headers: value === null ? {} : { 'x-forwarded-for': value } });
        await until(() => text.includes('"request"'), 'the line is written');
        found.push((JSON.parse(text.trim().split('\n').at(-1) ?? '') as { client: unknown }).client);
      }
    } finally {
      client.close();
      await pod.stop();
    }
    return found;
  };

  it('is that of the connection, whatever the client says, where no proxy is', async () => {
    expect(await logged(0, null, '203.0.113.9')).toEqual(['127.0.0.1', '127.0.0.1']);
  });

  it('is what the last proxy saw, not what was there before it', async () => {
    const values = [
      null,
      '203.0.113.9',
      '198.51.100.1, 203.0.113.9',
      '2001:db8::1',
      '203.0.113.9:5123',
      '[2001:db8::1]:99',
    ];
    expect(await logged(1, ...values)).toEqual([
      '127.0.0.1',
      '203.0.113.9',
      '203.0.113.9',
      '2001:db8::1',
      '203.0.113.9',
      '2001:db8::1',
    ]);
  });

  it('is what the first of two proxies saw', async () => {
    expect(await logged(2, '198.51.100.1, 203.0.113.9, 10.0.0.1', '203.0.113.9')).toEqual([
      '203.0.113.9',
      '203.0.113.9',
    ]);
  });

  it('is always an address', async () => {
    const values = ['<script>', 'unknown', '203.0.113.9, "; drop', '999.1.1.1', '::ffff:203.0.113.9'];
    expect(await logged(1, ...values)).toEqual([...Array<string>(4).fill('127.0.0.1'), '203.0.113.9']);
  });
});
