import { ServiceError } from '../../src/errors/service-error.js';
import { Pace } from '../../src/stomp/pace.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { stompClients, type StompClients } from './support.js';

function tooFast(): never {
  throw new ServiceError('TooManyRequests', 'too fast', { retryAfterSeconds: 0.01 });
}

describe('the pace of a connection', () => {
  it('is nothing to wait for where there is no limit', () => {
    const pace = new Pace({ maxBytesPerSecond: null, admit: () => undefined }, () => undefined);
    pace.onReceived(1e12);
    pace.onSent(1e12);
    expect(pace.nextFrame()).toBeUndefined();
    expect(pace.hasRoom).toBe(true);
  });

  it('lets a second of bytes come at once, and then as many as were agreed on', () => {
    let now = 0;
    let told = 0;
    const pace = new Pace(
      { maxBytesPerSecond: 1000, admit: () => undefined },
      () => {
        told += 1;
      },
      () => now,
    );
    pace.onSent(1000);
    expect(pace.hasRoom).toBe(false);
    now = 1;
    expect(pace.hasRoom).toBe(true);
    // A frame that is larger than a second's worth is paid back before the next.
    pace.onSent(5000);
    now = 4900;
    expect(pace.hasRoom).toBe(false);
    now = 5100;
    expect(pace.hasRoom).toBe(true);
    expect(told).toBe(0);
    pace.stop();
  });

  it('says when messages may be delivered again', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const pace = new Pace({ maxBytesPerSecond: 100_000, admit: () => undefined }, resolve);
    pace.onSent(105_000);
    expect(pace.hasRoom).toBe(false);
    await promise;
    expect(pace.hasRoom).toBe(true);
  });

  it('waits with a frame that is one too many for its tenancy', async () => {
    let refusals = 3;
    const admit = (): void => {
      if (refusals-- > 0) tooFast();
    };
    const pace = new Pace({ maxBytesPerSecond: null, admit }, () => undefined);
    await pace.nextFrame();
    expect(refusals).toBe(-1);
    expect(pace.nextFrame()).toBeUndefined();
  });
});

describe('connections that are too fast', () => {
  let pods: TestPods;
  let rest: Client;
  let stomp: StompClients;

  beforeAll(async () => {
    pods = await startTestPods(1, {
      TOWPATH_STOMP_MAX_BYTES_PER_SECOND: '20000',
      TOWPATH_MAX_TENANCY_REQUESTS_PER_SECOND: '30',
    });
    rest = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  it('are slowed down and lose nothing', async () => {
    const queueId = await rest.createQueue({ compartmentId: pods.credentials.compartmentId });
    const client = await stomp.client();
    const start = performance.now();
    for (let n = 0; n < 75; n += 1) client.write('SEND', { destination: queueId, receipt: `${n}` }, 'x'.repeat(700));
    await client.take('RECEIPT', { 'receipt-id': '74' });
    // 75 frames at 30 per second with a second's worth at once; 60,000 bytes at 20,000 per second likewise.
    expect(performance.now() - start).toBeGreaterThan(1400);
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'auto', 'prefetch-count': '1000' });
    const delivered = performance.now();
    for (let n = 0; n < 75; n += 1) await client.take('MESSAGE', {});
    // More than 60,000 bytes; what one get brings comes together.
    expect(performance.now() - delivered).toBeGreaterThan(1000);
  });
});
