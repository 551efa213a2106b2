import { connect, type Socket } from 'node:net';
import type { Pod } from '../../src/app.js';
import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, parseAnswer, sendBytes } from './support.js';

const metric = async (from: Client, name: string): Promise<number> => {
  const { text } = await from.call({ path: '/metrics', root: true });
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
};

describe('clients that hold connections', () => {
  let pods: TestPods;
  let pod: Pod;
  let client: Client;
  let sockets: Socket[] = [];

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    client = new Client(pod.url, pods.credentials.apiKey);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
  });

  interface Open {
    readonly socket: Socket;
    /** What came, and whether the other side has closed. */
    text: string;
    isClosed: boolean;
  }

  const open = (to: Pod, first = ''): Promise<Open> =>
    new Promise((resolve, reject) => {
      const socket = connect(to.port, '127.0.0.1');
      sockets.push(socket);
      const made: Open = { socket, text: '', isClosed: false };
      socket.setEncoding('latin1').on('data', (data: string) => (made.text += data));
      socket.on('close', () => (made.isClosed = true));
      socket.once('connect', () => {
        socket.on('error', () => undefined);
        if (first !== '') socket.write(first);
        resolve(made);
      });
      socket.once('error', reject);
    });
  it('by sending the head of a request byte by byte are refused with 408, or by sending none', async () => {
    const server = pod.app.getHttpServer();
    expect(server.headersTimeout).toBe(20_000);
    expect(server.requestTimeout).toBe(60_000);
    // The rest takes as long as it takes.
    server.headersTimeout = 1000;
    try {
      const slow = await open(pod, 'GET /livez HTTP/1.1\r\nhost: x\r\n');
      const mute = await open(pod);
      const dripping = setInterval(() => slow.socket.write('x-a: b\r\n'), 100);
      await until(() => slow.isClosed && mute.isClosed, 'both are closed');
      clearInterval(dripping);
      for (const { text } of [slow, mute]) expectError(parseAnswer(text), 408, 'RequestTimeout');
    } finally {
      server.headersTimeout = 20_000;
    }
  });

  it('by closing their half of it are let go', async () => {
    const half = await open(pod, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n');
    half.socket.end();
    await until(() => half.isClosed, 'the pod closes its half too', 30_000);
    expect(half.text).toMatch(/^HTTP\/1.1 200/);
  });

  it('are not given more memory than their headers may have', async () => {
    const head = 'GET /livez HTTP/1.1\r\nhost: x\r\n';
    const endless = await open(pod, head);
    // One header that never ends, and then very many.
    endless.socket.write(`x-a: ${'a'.repeat(1_000_000)}`);
    await until(() => endless.isClosed, 'it is refused');
    expectError(parseAnswer(endless.text), 431, 'RequestHeaderFieldsTooLarge');
    const many = `${head}${'a: b\r\n'.repeat(10_000)}\r\n`;
    expectError(parseAnswer(await sendBytes(pod.url, many)), 431, 'RequestHeaderFieldsTooLarge');
  });

  it('beyond the limit get 503 with what to do, while others and probes are served', async () => {
    const full = await pods.add({ TOWPATH_MAX_CONNECTIONS: '20' });
    const kept = new Client(full.url, pods.credentials.apiKey);
    expect((await kept.call({ path: '/queues' })).status).toBe(200);
    for (let index = 0; index < 19; index += 1) await open(full);
    const request = (path: string): string =>
      `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${pods.credentials.apiKey}\r\n\r\n`;
    const refused = parseAnswer(await sendBytes(full.url, request('/20210201/queues')));
    expectError(refused, 503, 'ServiceUnavailable', /all 20 connections.*TOWPATH_MAX_CONNECTIONS/);
    expect(refused.headers).toMatchObject({ 'retry-after': '1', connection: 'close' });
    expect(parseAnswer(await sendBytes(full.url, request('/readyz'))).status).toBe(200);
    expect((await kept.call({ path: '/queues' })).status).toBe(200);
    expect(await metric(kept, 'towpath_connections_refused_total')).toBe(2);
    // Who asks for nothing is not kept.
    const mute = await open(full);
    await until(() => mute.isClosed, 'a connection too many is closed by itself', 20_000);
    expect(mute.text).toBe('');
    // A flood beyond is dropped without a word, and leaves no trace.
    const flood = await Promise.all(Array.from({ length: 400 }, () => open(full).catch(() => null)));
    await until(() => flood.filter((each) => each?.isClosed === false).length <= 256, 'most are dropped');
    expect(await metric(kept, 'towpath_connections')).toBeLessThanOrEqual(20 + 256);
    expect((await kept.call({ path: '/queues' })).status).toBe(200);
    for (const socket of sockets) socket.destroy();
    await until(async () => (await metric(kept, 'towpath_connections')) === 1, 'all are gone');
    const again = parseAnswer(
      await sendBytes(full.url, request('/20210201/queues').replace('host', 'connection: close\r\nhost')),
    );
    expect(again.status).toBe(200);
    kept.close();
  });

  it('cost little memory while they are idle, and others are served beside them', async () => {
    const many = 1000;
    const idle = await Promise.all(Array.from({ length: 20 }, () => open(pod)));
    global.gc?.();
    const before = process.memoryUsage().rss;
    for (let count = 0; count < many; count += 100) {
      idle.push(
        ...(await Promise.all(Array.from({ length: 100 }, () => open(pod, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n')))),
      );
    }
    await until(() => idle.slice(20).every(({ text }) => text.includes('alive')), 'all were answered once');
    const grown = process.memoryUsage().rss - before;
    // Both ends are in this process; bench/idle-connections.mjs has the figure of the pod alone.
    expect(grown / many).toBeLessThan(200 * 1024);
    expect(await metric(client, 'towpath_connections')).toBeGreaterThanOrEqual(many);
    expect((await client.call({ path: '/queues' })).status).toBe(200);
  });
});
