import type { Message } from 'stompit';
import type { Pod } from '../../../src/app.js';
import { StompGateway } from '../../../src/stomp/stomp-gateway.js';
import { until } from '../../pods/support.js';
import { Client } from '../../rest/support.js';
import { startTestPods, type TestPods } from '../../support/pod.js';
import { interpreterOf, runScript, SCRIPT_CLIENTS } from './scripts.js';
import { bodyOf, disconnect, sendWithReceipt, stompitOverTcp } from './stompit.js';
import { stompjsOverTcp, stompjsOverWebSocket, type StompjsTarget } from './stompjs.js';

const COUNT = 20;
const BODIES = Array.from({ length: COUNT }, (_, n) => `message ${n} \u00e4`);

let pods: TestPods;
let pod: Pod;
let rest: Client;
let target: StompjsTarget;

beforeAll(async () => {
  pods = await startTestPods(1);
  [pod] = pods.pods as [Pod];
  rest = new Client(pod.url, pods.credentials.apiKey);
  const { stompLogin: login, stompPasscode: passcode } = pods.credentials;
  target = { host: '127.0.0.1', port: pod.stompPort, login, passcode };
});
afterEach(() => until(() => pod.app.get(StompGateway).open.size === 0, 'all sessions have ended'));
afterAll(async () => {
  rest.close();
  await pods.stop();
});

const newQueue = (): Promise<string> => rest.createQueue({ compartmentId: pods.credentials.compartmentId });

/** Nothing is left: visible, or held by a client that has not acknowledged. */
async function expectEmpty(queueId: string): Promise<void> {
  const none = { visibleMessages: 0, inFlightMessages: 0 };
  const counts = async (): Promise<object> => {
    const { json } = await rest.call({ path: `/queues/${queueId}/stats` });
    return (json as { queue: object }).queue;
  };
  await until(async () => {
    const { visibleMessages, inFlightMessages } = (await counts()) as typeof none;
    return visibleMessages === 0 && inFlightMessages === 0;
  }, `${queueId} is empty`);
  expect(await counts()).toMatchObject(none);
}

for (const client of SCRIPT_CLIENTS) {
  const interpreter = interpreterOf(client);
  const describeIt = interpreter === undefined ? describe.skip : describe;
  describeIt(client.name, () => {
    it('sends with receipts, receives what it sent and acknowledges it', async () => {
      const queueId = await newQueue();
      const events = await runScript(interpreter!, client, { ...target, destination: queueId, count: COUNT });
      expect(events[0]).toEqual({ event: 'connected', version: expect.stringMatching(/^1\.[12]$/) });
      expect(events.filter(({ event }) => event === 'receipt')).toHaveLength(COUNT + 1);
      const bodies = events.flatMap((event) => (event.event === 'message' ? [event.body] : []));
      expect(bodies.toSorted()).toEqual(BODIES.toSorted());
      await expectEmpty(queueId);
    });
  });
}

describe.each([
  ['WebSocket', () => stompjsOverWebSocket(`${pod.url.replace('http', 'ws')}/stomp`, target)],
  ['TCP', () => stompjsOverTcp(target)],
])('@stomp/stompjs over %s', (_, connect) => {
  it('sends with receipts, receives what it sent and acknowledges it', async () => {
    const queueId = await newQueue();
    const client = await connect();
    expect(client.connectedVersion).toBe('1.2');
    const receipts = BODIES.map((body, n) => {
      const { promise, resolve } = Promise.withResolvers<unknown>();
      client.watchForReceipt(`send-${n}`, resolve);
      client.publish({ destination: queueId, body, headers: { receipt: `send-${n}` } });
      return promise;
    });
    await Promise.all(receipts);
    const bodies: string[] = [];
    const subscription = client.subscribe(
      queueId,
      (message) => {
        bodies.push(message.body);
        message.ack();
      },
      { ack: 'client-individual' },
    );
    await until(() => bodies.length === COUNT, 'all messages have come');
    expect(bodies.toSorted()).toEqual(BODIES.toSorted());
    subscription.unsubscribe();
    await client.deactivate();
    await expectEmpty(queueId);
  });
});

describe('stompit', () => {
  it('sends with receipts, receives what it sent and acknowledges it', async () => {
    const queueId = await newQueue();
    const client = await stompitOverTcp(target);
    await Promise.all(BODIES.map((body) => sendWithReceipt(client, { destination: queueId }, body)));
    const bodies: string[] = [];
    const failures: unknown[] = [];
    const receive = async (message: Message): Promise<void> => {
      bodies.push((await bodyOf(message)).toString());
      client.ack(message);
    };
    const subscription = client.subscribe({ destination: queueId, ack: 'client-individual' }, (error, message) => {
      if (error === null) void receive(message);
      else failures.push(error);
    });
    await until(() => bodies.length === COUNT, 'all messages have come');
    expect({ bodies: bodies.toSorted(), failures }).toEqual({ bodies: BODIES.toSorted(), failures: [] });
    subscription.unsubscribe();
    await disconnect(client);
    await expectEmpty(queueId);
  });
});
