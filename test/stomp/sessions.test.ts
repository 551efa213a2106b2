import type { Pod } from '../../src/app.js';
import { StompGateway } from '../../src/stomp/stomp-gateway.js';
import { until } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, stompClients, type StompClients } from './support.js';

describe('a STOMP session', () => {
  let pods: TestPods;
  let pod: Pod;
  let impatient: Pod;
  let rest: Client;
  let stomp: StompClients;
  let queueId: string;

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    impatient = await pods.add({
      TOWPATH_STOMP_LOGIN_SECONDS: '0.5',
      TOWPATH_STOMP_IDLE_SECONDS: '0.5',
      TOWPATH_STOMP_HEART_BEAT_SECONDS: '0.2',
      TOWPATH_STOMP_MAX_CONNECTIONS: '4',
      TOWPATH_STOMP_MAX_CONNECTIONS_PER_USER: '3',
    });
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
    queueId = await rest.createQueue({ compartmentId: pods.credentials.compartmentId });
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  it.each([
    ['1.0,1.1,1.2', '1.2'],
    ['1.1,1.0', '1.1'],
    ['1.0', '1.0'],
    ['9.9, 1.2', '1.2'],
  ])('of a client that accepts %s speaks %s', async (accepted, version) => {
    const client = await stomp.stranger();
    const connected = await client.connect({ ...stomp.login, 'accept-version': accepted });
    expect(Object.fromEntries(connected.headers)).toEqual({
      version,
      session: expect.any(String),
      server: 'towpath',
      'heart-beat': '10000,10000',
    });
  });

  it('of a client that does not say speaks 1.0', async () => {
    const client = await stomp.stranger();
    client.write('CONNECT', stomp.login);
    expect((await client.take('CONNECTED')).headers.get('version')).toBe('1.0');
  });

  it('begins with STOMP as with CONNECT', async () => {
    const client = await stomp.stranger();
    client.write('STOMP', { 'accept-version': '1.2', host: '/', ...stomp.login });
    expect((await client.take('CONNECTED')).headers.get('version')).toBe('1.2');
  });

  it('is refused where no version is spoken by both, with those that are', async () => {
    const client = await stomp.stranger();
    client.write('CONNECT', { 'accept-version': '2.0', ...stomp.login });
    expect((await expectFailure(client, 'InvalidParameter')).headers.get('version')).toBe('1.0,1.1,1.2');
  });

  it.each([
    ['a wrong passcode', { passcode: Buffer.from('wrong wrong wrong').toString('base64') }],
    ['an unknown user', { login: 'towpath/nobody' }],
    ['no passcode', { passcode: '' }],
  ])('is refused with %s', async (_, wrong) => {
    const client = await stomp.stranger();
    client.write('CONNECT', { 'accept-version': '1.2', ...stomp.login, ...wrong });
    await expectFailure(client, 'NotAuthenticated');
  });

  it('is refused without a login', async () => {
    const client = await stomp.stranger();
    client.write('CONNECT', { 'accept-version': '1.2' });
    await expectFailure(client, 'NotAuthenticated', /needs the headers login/);
  });

  it('takes nothing before CONNECT, and CONNECT once', async () => {
    const early = await stomp.stranger();
    early.write('SEND', { destination: queueId, receipt: 'x' }, 'hello');
    expect((await expectFailure(early, 'CannotParseRequest', /CONNECT first/)).headers.get('receipt-id')).toBe('x');
    const twice = await stomp.client();
    twice.write('CONNECT', { 'accept-version': '1.2', ...stomp.login });
    await expectFailure(twice, 'CannotParseRequest', /connected already/);
  });

  it('is told of commands that there are not, and of what is no STOMP', async () => {
    const client = await stomp.client();
    client.write('RECEIPT', { 'receipt-id': '1' });
    await expectFailure(client, 'CannotParseRequest', /no command RECEIPT/);
    const http = await stomp.stranger();
    http.socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await expectFailure(http, 'CannotParseRequest');
  });

  it.each([
    ['an undefined escape', 'SEND\ndestination:a\\tb\n\nx\0', 'CannotParseRequest'],
    ['a header without a colon', 'SEND\ndestination\n\nx\0', 'CannotParseRequest'],
    ['a body without its NUL', 'SEND\ndestination:a\ncontent-length:1\n\nxyz', 'CannotParseRequest'],
    ['too many headers', `SEND\n${'a:b\n'.repeat(300)}\nx\0`, 'PayloadTooLarge'],
    ['a header that is too large', `SEND\na:${'b'.repeat(70_000)}\n\nx\0`, 'PayloadTooLarge'],
    ['a body that is announced too large', 'SEND\ndestination:a\ncontent-length:9999999\n\n', 'PayloadTooLarge'],
    ['a body that gets too large', `SEND\ndestination:a\n\n${'x'.repeat(600_000)}`, 'PayloadTooLarge'],
  ])('is told of %s, and closed', async (_, bytes, code) => {
    const client = await stomp.client();
    client.socket.write(bytes);
    await expectFailure(client, code);
  });

  it('of a stranger takes no large frames', async () => {
    const client = await stomp.stranger();
    client.socket.write(`CONNECT\nlogin:${'x'.repeat(10_000)}\n\n\0`);
    await expectFailure(client, 'PayloadTooLarge');
  });

  it('takes frames that come byte by byte, and stores nothing of one that is cut in its middle', async () => {
    const client = await stomp.stranger();
    const bytes = Buffer.concat([
      client.encode('CONNECT', { 'accept-version': '1.2', ...stomp.login }),
      Buffer.from('\n\r\n'),
      client.encode('SEND', { destination: queueId, receipt: '1' }, 'byte by byte'),
    ]);
    client.socket.setNoDelay(true);
    for (const byte of bytes) {
      client.socket.write(Buffer.from([byte]));
      if (byte === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await client.take('RECEIPT', { 'receipt-id': '1' });
    client.socket.write(client.encode('SEND', { destination: queueId }, 'cut off').subarray(0, -5));
    client.socket.destroy();
    await until(() => pod.app.get(StompGateway).open.size === 0, 'the session has ended');
    expect((await rest.get(queueId)).map(({ content }) => content)).toEqual(['byte by byte']);
  });

  it('ends with DISCONNECT after all before it is done, and tells so', async () => {
    const client = await stomp.client();
    for (let n = 0; n < 30; n += 1) client.write('SEND', { destination: queueId, receipt: `s${n}` }, String(n));
    client.write('DISCONNECT', { receipt: 'bye' });
    await client.take('RECEIPT', { 'receipt-id': 'bye' });
    // The others came before.
    expect(client.frames.map(({ command }) => command)).toEqual(Array.from({ length: 30 }, () => 'RECEIPT'));
    await until(() => client.isClosed, 'it is closed');
  });

  it('stores what was sent before the connection was cut', async () => {
    const other = await rest.createQueue({ compartmentId: pods.credentials.compartmentId });
    const client = await stomp.client();
    for (let n = 0; n < 30; n += 1) client.write('SEND', { destination: other }, String(n));
    await new Promise<void>((resolve) => client.socket.write('\n', () => resolve()));
    client.socket.end();
    await until(async () => {
      const stats = await rest.call({ path: `/queues/${other}/stats` });
      return (stats.json as { queue: { visibleMessages: number } }).queue.visibleMessages === 30;
    }, 'all are stored');
    expect(client.error).toBeUndefined();
  });

  it('is closed where no CONNECT comes, and where nothing comes at all', async () => {
    const mute = await stomp.stranger(impatient);
    await expectFailure(mute, 'RequestTimeout', /CONNECT/);
    const idle = await stomp.client(impatient);
    await expectFailure(idle, 'RequestTimeout', /nothing came for 0.5 seconds/);
    const subscribed = await stomp.client(impatient);
    await subscribed.ask('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client' });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(subscribed.isClosed).toBe(false);
  });

  it('sends heart-beats, and is closed where those of the client stay away', async () => {
    const client = await stomp.client(impatient, { 'heart-beat': '200,200' });
    const beating = setInterval(() => client.socket.write('\n'), 100);
    await until(() => client.heartBeats >= 5, 'heart-beats came');
    expect(client.isClosed).toBe(false);
    clearInterval(beating);
    await expectFailure(client, 'RequestTimeout', /no heart-beat/);
  });

  it('refuses heart-beats that are none', async () => {
    const client = await stomp.stranger();
    client.write('CONNECT', { 'accept-version': '1.2', ...stomp.login, 'heart-beat': 'often' });
    await expectFailure(client, 'InvalidParameter', /heart-beat/);
  });

  it('is refused beyond the limits of the user and of the pod', async () => {
    const beating = { 'heart-beat': '100000,0' };
    for (let n = 0; n < 3; n += 1) await stomp.client(impatient, beating);
    const fourth = await stomp.stranger(impatient);
    const fifth = await stomp.stranger(impatient);
    await expectFailure(fifth, 'ServiceUnavailable', /TOWPATH_STOMP_MAX_CONNECTIONS\)/);
    fourth.write('CONNECT', { 'accept-version': '1.2', ...stomp.login });
    await expectFailure(fourth, 'LimitExceeded', /MAX_CONNECTIONS_PER_USER/);
    await stomp.close();
    await stomp.client(impatient, beating);
  });
});
