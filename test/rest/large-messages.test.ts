import { jest } from '@jest/globals';
import fc from 'fast-check';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../../src/app.js';
import { MemoryBudget } from '../../src/memory/memory-budget.js';
import { until, untilParked, waitersOf } from '../pods/support.js';
import { stopTheClock } from '../support/clock.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, ociError, sdkClients, type SdkClients } from '../support/sdk.js';
import { API, Client, expectError, type Answer } from './support.js';

const LARGE = 512_000;
/** As small as it can be set: room for seven bodies of LARGE bytes. And the patience that a loaded machine needs. */
const BUDGET = { TOWPATH_BODY_MEMORY_BYTES: '16777216', TOWPATH_BODY_MEMORY_WAIT_SECONDS: '30' };
const BODIES = 8;

const bodyOf = (content: string): string => JSON.stringify({ messages: [{ content }] });

describe('large messages', () => {
  let pods: TestPods;
  let pod: Pod;
  let memory: MemoryBudget;
  let client: Client;
  let sdk: SdkClients;
  let large: string;
  const sockets = new Set<Socket>();

  const newQueue = (details: object = {}): Promise<string> =>
    client.createQueue({
      compartmentId: pods.credentials.compartmentId,
      capabilities: [{ type: 'LARGE_MESSAGES' }],
      ...details,
    });
  const put = (queueId: string, content: string, to = client): Promise<Answer> =>
    to.call({ method: 'POST', path: `/queues/${queueId}/messages`, body: { messages: [{ content }] } });

  beforeAll(async () => {
    pods = await startTestPods(1, BUDGET);
    [pod] = pods.pods as [Pod];
    memory = pod.app.get(MemoryBudget);
    client = new Client(pod.url, pods.credentials.apiKey);
    sdk = sdkClients(pods.dataDirectory, pod.url);
    large = await newQueue();
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await until(() => memory.held === 0 && memory.waiting === 0, 'all memory is given back');
  });
  afterAll(async () => {
    sdk.close();
    client.close();
    await pods.stop();
  });

  /** A connection that the test reads from and writes to as it likes. It is not read until `resume`. */
  const open = async (url = pod.url): Promise<Socket> => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname).pause();
    sockets.add(socket);
    // A server may close while we still send.
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  };
  const head = (method: string, path: string, more = ''): string =>
    `${method} ${API}${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${pods.credentials.apiKey}\r\n` +
    `content-type: application/json\r\n${more}\r\n`;
  const putHead = (queueId: string, body: string): string =>
    head('POST', `/queues/${queueId}/messages`, `content-length: ${body.length}\r\n`);
  /** Sends a large put but for its last byte. It is slow, and may be cut off, after some seconds by the clock. */
  const almostPut = async (queueId: string, url = pod.url): Promise<Socket> => {
    const socket = await open(url);
    const body = bodyOf('x'.repeat(LARGE));
    socket.write(putHead(queueId, body) + body.slice(0, -1));
    return socket;
  };

  it.each([
    ['ASCII', 'x'],
    ['two bytes each', 'é'],
    ['three bytes each', '日'],
    ['four bytes each', '🛶'],
    ['all kinds', 'aé日🛶\n"\\'],
  ])('go through the SDK byte for byte: %s', async (_, letters) => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, {
      capabilities: [{ type: 'LARGE_MESSAGES' }] as never,
    });
    const bytes = Buffer.byteLength(letters);
    const content = letters.repeat(Math.floor(LARGE / bytes)) + 'x'.repeat(LARGE % bytes);
    const send = (text: string): Promise<unknown> =>
      sdk.data.putMessages({ queueId, putMessagesDetails: { messages: [{ content: text }] } });
    await send(content);
    await expect(send(`${content}x`)).rejects.toEqual(ociError(400, 'LimitExceeded'));
    const { getMessages } = await sdk.data.getMessages({ queueId, timeoutInSeconds: 0, limit: 20 });
    expect(getMessages.messages.map((message) => Buffer.byteLength(message.content))).toEqual([LARGE]);
    expect(getMessages.messages[0]!.content === content).toBe(true);
  });

  it('are refused without the capability', async () => {
    const queueId = await newQueue({ capabilities: [] });
    expectError(await put(queueId, 'x'.repeat(262_145)), 400, 'LimitExceeded', /takes 262144/);
    expect((await put(queueId, 'x'.repeat(262_144))).status).toBe(200);
  });

  it('are all taken when many come at once, within the budget, and small ones beside them', async () => {
    const queueId = await newQueue();
    const other = new Client(pod.url, pods.credentials.apiKey);
    let highest = 0;
    const look = setInterval(() => {
      highest = Math.max(highest, memory.held);
    }, 1);
    // Bodies that do not come to their end take all the room, so that those behind them wait however fast the machine is.
    stopTheClock();
    const silent = await Promise.all(Array.from({ length: BODIES }, () => almostPut(queueId)));
    await until(() => memory.waiting > 0, 'there is no room for one more');
    const before = memory.waiting;
    const bodies = Array.from({ length: 40 }, () => put(queueId, 'x'.repeat(LARGE), other));
    await until(() => memory.waiting > before, 'large ones wait');
    const small = await Promise.all(Array.from({ length: 40 }, () => put(large, 'small')));
    expect(new Set(small.map(({ status }) => status))).toEqual(new Set([200]));
    expect(memory.waiting).toBeGreaterThan(before);
    jest.restoreAllMocks();
    for (const socket of silent) socket.destroy();
    const statuses = (await Promise.all(bodies)).map(({ status }) => status);
    clearInterval(look);
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(highest).toBeLessThanOrEqual(memory.bytes);
    expect(highest).toBeGreaterThan(memory.bytes / 2);
    other.close();
  });

  it('are refused with 503 where there is no room for too long, and small ones are not', async () => {
    const hasty = await pods.add({ TOWPATH_BODY_MEMORY_WAIT_SECONDS: '0.3' });
    const other = new Client(hasty.url, pods.credentials.apiKey);
    const held = hasty.app.get(MemoryBudget);
    const queueId = await newQueue();
    stopTheClock();
    const silent: Socket[] = [];
    for (let index = 0; index < BODIES; index += 1) silent.push(await almostPut(queueId, hasty.url));
    await until(() => held.waiting > 0 || held.refused > 0, 'there is no room for one more');
    const refused = await put(queueId, 'x'.repeat(LARGE), other);
    expectError(refused, 503, 'ServiceUnavailable', /try again/);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect((await put(large, 'small', other)).status).toBe(200);
    // A get is no large request: it takes as much as there is room for.
    expect(await other.get(queueId)).toEqual([]);
    jest.restoreAllMocks();
    for (const socket of silent) socket.destroy();
    await until(() => held.held === 0, 'the silent ones gave their room back');
    expect((await put(queueId, 'y'.repeat(LARGE), other)).status).toBe(200);
    const metrics = (await other.call({ path: '/metrics', root: true })).text;
    expect(metrics).toMatch(/^towpath_memory_refused_total [1-9]/m);
    expect(metrics).toMatch(/^towpath_memory_held_bytes 0$/m);
    // Nothing of what was refused or cut short was stored.
    expect((await other.get(queueId)).map(({ content }) => content[0])).toEqual(['y']);
    other.close();
  });

  it('have room again when those whose bodies do not come are cut off', async () => {
    const queueId = await newQueue();
    const silent = await Promise.all(Array.from({ length: BODIES }, () => almostPut(queueId)));
    await until(() => memory.waiting > 0, 'there is no room for one more');
    const answers = silent.map(
      (socket) =>
        new Promise<string>((resolve) => {
          let text = '';
          socket.setEncoding('latin1').on('data', (data: string) => {
            text += data;
          });
          socket.on('close', () => resolve(text)).resume();
        }),
    );
    expect((await put(queueId, 'x'.repeat(LARGE))).status).toBe(200);
    for (const socket of sockets) socket.end();
    expect((await Promise.all(answers)).filter((text) => /^HTTP\/1.1 408 .*RequestTimeout/s.test(text))).not.toEqual(
      [],
    );
    expect(await client.get(queueId)).toHaveLength(1);
  });

  it('do not stop others where their answers are not read', async () => {
    const queueId = await newQueue({ deadLetterQueueDeliveryCount: 0 });
    for (let count = 0; count < 12; count += 1) await put(queueId, '\u0001'.repeat(200_000));
    const path = `/queues/${queueId}/messages?timeoutInSeconds=0&visibilityInSeconds=0&limit=20`;
    // Twelve megabytes each, more than the sockets of both sides keep.
    for (let count = 0; count < 6; count += 1) (await open()).write(head('GET', path));
    await until(() => memory.held > memory.bytes / 2, 'the answers are held');
    expect((await put(large, 'small')).status).toBe(200);
    // Waits, if it has to, until one of those is given up. A get that does not poll finds nothing while another of them
    // claims the same messages (skip locked), so it may have to ask again.
    let received = 0;
    await until(async () => {
      const answer = await client.call({ path });
      expect(answer.status).toBe(200);
      received = (answer.json as { messages: unknown[] }).messages.length;
      return received > 0;
    }, 'a get is answered with messages');
    expect(received).toBeLessThanOrEqual(12);
    expect((await put(queueId, 'x'.repeat(LARGE))).status).toBe(200);
  });

  it('hold nothing while long polls wait', async () => {
    const queueId = await newQueue();
    const polls = Array.from({ length: 20 }, () =>
      client.call({ path: `/queues/${queueId}/messages?timeoutInSeconds=20&limit=20` }),
    );
    await untilParked(pod, 20);
    await until(() => memory.held === 0, 'nobody holds anything');
    await client.put(queueId, ...Array.from({ length: 20 }, () => 'x'));
    // One may take several, so there are as many as it needs.
    await until(async () => {
      await client.put(queueId, 'x');
      return waitersOf(pod) === 0;
    }, 'all are answered');
    const got = (await Promise.all(polls)).map(({ status }) => status);
    expect(new Set(got)).toEqual(new Set([200]));
  });

  it('are forgotten where the client goes while it waits for room', async () => {
    const queueId = await newQueue();
    stopTheClock();
    for (let index = 0; index < BODIES; index += 1) await almostPut(queueId);
    await until(() => memory.waiting > 0, 'there is no room for one more');
    const waiting = memory.waiting;
    const [withLength, chunked] = [await open(), await open()];
    const body = bodyOf('x'.repeat(LARGE));
    withLength.write(putHead(queueId, body) + body.slice(0, 100));
    chunked.write(head('POST', `/queues/${queueId}/messages`, 'transfer-encoding: chunked\r\n'));
    for (let index = 0; index < 6; index += 1) chunked.write(`3000\r\n${'x'.repeat(0x3000)}\r\n`);
    await until(() => memory.waiting === waiting + 2, 'both wait');
    withLength.destroy();
    chunked.destroy();
    // The pod learns of it before there is room.
    await sleep(200);
    jest.restoreAllMocks();
    for (const socket of sockets) socket.destroy();
    await until(() => memory.held === 0 && memory.waiting === 0, 'all memory is given back', 20_000);
    expect(await client.get(queueId)).toEqual([]);
  });

  it('give their memory back however their connections end', async () => {
    const queueId = await newQueue();
    await put(queueId, 'x'.repeat(LARGE));
    const body = bodyOf('x'.repeat(LARGE));
    const chunk = `${(16_384).toString(16)}\r\n${'x'.repeat(16_384)}\r\n`;
    const get = head('GET', `/queues/${queueId}/messages?timeoutInSeconds=1&visibilityInSeconds=0&limit=20`);
    const chunked = head('POST', `/queues/${queueId}/messages`, 'transfer-encoding: chunked\r\n');
    const texts = {
      part: putHead(queueId, body) + body.slice(0, 200_000),
      all: putHead(queueId, body) + body,
      small: putHead(queueId, bodyOf('x')) + bodyOf('x'),
      noJson: putHead(queueId, body) + body.replace('{', '['),
      tooLarge: head('POST', `/queues/${queueId}/messages`, 'content-length: 9000000\r\n') + body,
      get,
      pipelined: get + get + putHead(queueId, body) + body + get,
      chunked: chunked + chunk.repeat(10),
      broken: `${chunked + chunk}nonsense\r\n`,
      endless: chunked + chunk.repeat(120),
    };
    const action = fc.record({
      text: fc.constantFrom(...Object.values(texts)),
      afterMs: fc.integer({ min: 0, max: 60 }),
      reads: fc.boolean(),
      halfClose: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 16 }), async (actions) => {
        await Promise.all(
          actions.map(async ({ text, afterMs, reads, halfClose }) => {
            const socket = await open();
            if (reads) socket.resume();
            socket.write(text);
            await sleep(afterMs);
            if (halfClose) socket.end();
            await sleep(afterMs);
            socket.destroy();
          }),
        );
        await until(() => memory.held === 0 && memory.waiting === 0, `nothing is held (${memory.held} bytes are)`);
      }),
      { numRuns: 15 },
    );
    expect((await put(queueId, 'x'.repeat(LARGE))).status).toBe(200);
  }, 300_000);
});
