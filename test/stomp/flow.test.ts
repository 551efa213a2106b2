import type { Pod } from '../../src/app.js';
import { MemoryBudget } from '../../src/memory/memory-budget.js';
import { StompGateway } from '../../src/stomp/stomp-gateway.js';
import { until } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, stompClients, type StompClients } from './support.js';

const BODY = 'x'.repeat(100_000);
const MESSAGES = 120;

describe('a STOMP client that does not read', () => {
  let pods: TestPods;
  let pod: Pod;
  let rest: Client;
  let stomp: StompClients;
  const newQueue = (details: object = {}): Promise<string> =>
    rest.createQueue({ compartmentId: pods.credentials.compartmentId, ...details });

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  afterEach(async () => {
    await stomp.close();
    await until(() => pod.app.get(MemoryBudget).held === 0, 'all memory is given back');
  });
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  it('is not sent more than fits, while others are served', async () => {
    const queueId = await newQueue();
    const sender = await stomp.client();
    for (let n = 0; n < MESSAGES; n += 1) sender.write('SEND', { destination: queueId, receipt: `${n}` }, BODY);
    await sender.take('RECEIPT', { 'receipt-id': `${MESSAGES - 1}` });
    const slow = await stomp.client();
    slow.socket.pause();
    slow.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client', 'prefetch-count': '1000' });
    const inFlight = async (): Promise<number> =>
      ((await rest.call({ path: `/queues/${queueId}/stats` })).json as { queue: { inFlightMessages: number } }).queue
        .inFlightMessages;
    // What it was given lies in the buffers of both kernels and in the pod.
    let before = -1;
    await until(async () => {
      const now = await inFlight();
      const isSteady = now > 0 && now === before;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return isSteady;
    }, 'nothing more is delivered to it');
    const sessions = [...pod.app.get(StompGateway).open];
    const unsent = Math.max(...sessions.map(({ connection }) => connection.unsentBytes));
    expect(unsent).toBeGreaterThan(0);
    expect(unsent).toBeLessThan(1_000_000);
    expect(before).toBeLessThan(MESSAGES);
    // Others are served.
    const other = await stomp.client();
    other.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client', 'prefetch-count': '5' });
    await until(() => other.frames.length >= 5, 'another one gets messages');
    other.destroy();
    slow.socket.resume();
    await until(() => slow.frames.length === MESSAGES, 'it gets everything in the end');
  });

  it('may send much at once: it is read as fast as it is stored', async () => {
    const queueId = await newQueue();
    const sender = await stomp.client();
    const frame = sender.encode('SEND', { destination: queueId }, BODY);
    for (let n = 0; n < 200; n += 1) sender.socket.write(frame);
    sender.write('SEND', { destination: queueId, receipt: 'last' }, 'last');
    let most = 0;
    const memory = pod.app.get(MemoryBudget);
    await until(() => {
      most = Math.max(most, memory.held);
      return sender.frames.length > 0;
    }, 'all are stored');
    expect(most).toBeLessThan(4_000_000);
  });
});

describe('a pod that stops', () => {
  it('answers what was sent, gives back what is held, says so, and closes', async () => {
    const pods = await startTestPods(1);
    const [pod] = pods.pods as [Pod];
    const rest = new Client(pod.url, pods.credentials.apiKey);
    const stomp = stompClients(pods);
    const queueId = await rest.createQueue({
      compartmentId: pods.credentials.compartmentId,
      visibilityInSeconds: 600,
    });
    const held = await stomp.client();
    held.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client' });
    const sender = await stomp.client();
    for (let n = 0; n < 10; n += 1) sender.write('SEND', { destination: queueId, receipt: `${n}` }, `${n}`);
    await until(() => held.frames.length === 10, 'all were delivered');
    sender.write('SEND', { destination: queueId, receipt: 'late' }, 'late');
    // So that it is read before the stop.
    await held.take('MESSAGE');
    const stopped = pod.stop();
    for (const client of [held, sender]) await expectFailure(client, 'ServiceUnavailable', /^shutting down/);
    await stopped;
    await expect(stomp.stranger(pod)).rejects.toThrow(/ECONNREFUSED/);
    const successor = await pods.add();
    const later = new Client(successor.url, pods.credentials.apiKey);
    const stored = sender.frames.filter(({ command }) => command === 'RECEIPT').length;
    expect(stored).toBeGreaterThanOrEqual(10);
    const found = [...(await later.get(queueId)), ...(await later.get(queueId))];
    expect(found.length).toBe(stored);
    rest.close();
    later.close();
    await successor.stop();
    await pods.test.drop();
  });
});
