import { Client as StompJs, Versions, type IFrame, type IMessage, type IStompSocket } from '@stomp/stompjs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import stompit, { type Message } from 'stompit';
import { WebSocket as Ws } from 'ws';
import type { Pod } from '../../src/app.js';
import { encodeFrame } from '../../src/stomp/codec/encode-frame.js';
import { StompGateway } from '../../src/stomp/stomp-gateway.js';
import { until } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Authority, CertificateFolder } from '../tls/authority.js';

/** What @stomp/stompjs takes for a WebSocket, over TCP. */
class TcpSocket implements IStompSocket {
  readonly url: string;
  readyState = 0;
  onclose: IStompSocket['onclose'] = null;
  onerror: IStompSocket['onerror'] = null;
  onmessage: IStompSocket['onmessage'] = null;
  onopen: IStompSocket['onopen'] = null;
  private readonly socket: Socket;

  constructor(port: number) {
    this.url = `tcp://127.0.0.1:${port}`;
    this.socket = connect(port, '127.0.0.1', () => {
      this.readyState = 1;
      this.onopen?.({});
    });
    this.socket.on('data', (data: Buffer) => this.onmessage?.({ data: new Uint8Array(data).buffer }));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.readyState = 3;
      this.onclose?.({ code: 1000 });
    });
  }

  send(data: string | ArrayBuffer): void {
    this.socket.write(typeof data === 'string' ? data : new Uint8Array(data));
  }

  close(): void {
    this.readyState = 2;
    this.socket.end();
  }
}

function receipt(client: StompJs, act: (headers: Record<string, string>) => void): Promise<void> {
  return new Promise((resolve) => {
    const id = String(Math.random());
    client.watchForReceipt(id, () => resolve());
    act({ receipt: id });
  });
}

describe('STOMP', () => {
  let pods: TestPods;
  let pod: Pod;
  let rest: Client;
  let queueId: string;
  const compartment = (): Record<string, unknown> => ({ compartmentId: pods.credentials.compartmentId });

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    rest = new Client(pod.url, pods.credentials.apiKey);
  });
  beforeEach(async () => {
    queueId = await rest.createQueue(compartment());
  });
  afterEach(() => until(() => pod.app.get(StompGateway).open.size === 0, 'all sessions have ended'));
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  const started = (options: Record<string, unknown>, version: string): Promise<StompJs> => {
    const { stompLogin: login, stompPasscode: passcode } = pods.credentials;
    const { promise, resolve, reject } = Promise.withResolvers<StompJs>();
    const client = new StompJs({
      connectHeaders: { login, passcode },
      reconnectDelay: 0,
      ...options,
      onConnect: () => resolve(client),
      onStompError: (frame: IFrame) => reject(new Error(frame.headers['message'])),
    });
    client.stompVersions = new Versions([version]);
    client.activate();
    return promise;
  };
  const overWebSocket = (): Record<string, unknown> => ({ brokerURL: `${pod.url.replace('http', 'ws')}/stomp` });
  const overTcp = (): Record<string, unknown> => ({ webSocketFactory: () => new TcpSocket(pod.stompPort) });

  it.each([
    ['WebSocket', '1.2', overWebSocket],
    ['WebSocket', '1.1', overWebSocket],
    [
      'WebSocket, binary frames',
      '1.2',
      (): Record<string, unknown> => ({ ...overWebSocket(), forceBinaryWSFrames: true }),
    ],
    [
      'WebSocket, in pieces',
      '1.2',
      (): Record<string, unknown> => ({ ...overWebSocket(), splitLargeFrames: true, maxWebSocketChunkSize: 100 }),
    ],
    ['TCP', '1.2', overTcp],
    ['TCP', '1.0', overTcp],
  ])('with @stomp/stompjs over %s in version %s: sends, receives, acknowledges', async (_, version, options) => {
    const client = await started(options(), version);
    expect(client.connectedVersion).toBe(version);
    const words = 'grüße\n'.repeat(100);
    const binary = new Uint8Array([0, 1, 255, 10, 0]);
    await receipt(client, (headers) =>
      client.publish({ destination: queueId, body: words, headers: { ...headers, kind: 'text' } }),
    );
    await receipt(client, (headers) => client.publish({ destination: queueId, binaryBody: binary, headers }));
    const messages: IMessage[] = [];
    const subscription = client.subscribe(queueId, (message) => messages.push(message), { ack: 'client-individual' });
    await until(() => messages.length === 2, 'both came');
    expect([messages[0]!.body, messages[0]!.headers['kind']]).toEqual([words, 'text']);
    expect(messages[1]!.binaryBody).toEqual(binary);
    await receipt(client, (headers) => messages[0]!.ack(headers));
    await receipt(client, (headers) => messages[1]!.nack(headers));
    await until(() => messages.length === 3, 'it came again');
    expect([messages[2]!.binaryBody, messages[2]!.headers['oci-delivery-count']]).toEqual([binary, '2']);
    await receipt(client, (headers) => messages[2]!.ack(headers));
    await receipt(client, (headers) => subscription.unsubscribe(headers));
    await client.deactivate();
    expect(await rest.get(queueId)).toEqual([]);
  });

  it('with stompit: sends, receives, acknowledges', async () => {
    const { stompLogin: login, stompPasscode: passcode } = pods.credentials;
    const connectHeaders = { 'accept-version': '1.1,1.2', host: '/', login, passcode, 'heart-beat': '1000,1000' };
    const client = await promisify(stompit.connect.bind(stompit))({
      host: '127.0.0.1',
      port: pod.stompPort,
      connectHeaders,
    });
    await new Promise<void>((resolve) => {
      client.send({ destination: queueId, 'content-type': 'text/plain' }, { onReceipt: resolve }).end('hello');
    });
    const message = await new Promise<Message>((resolve, reject) => {
      client.subscribe({ destination: queueId, ack: 'client-individual' }, (error, received) => {
        if (error === null) resolve(received);
        else reject(error);
      });
    });
    const body = await text(message);
    client.ack(message);
    expect(body).toBe('hello');
    await promisify(client.disconnect.bind(client))();
    expect(await rest.get(queueId)).toEqual([]);
  });

  it('over WebSocket agrees on a sub-protocol, and refuses other paths and origins', async () => {
    const url = `${pod.url.replace('http', 'ws')}/stomp`;
    const open = (protocols: string[], options: object = {}, to = url): Promise<string> => {
      const { promise, resolve } = Promise.withResolvers<string>();
      const socket = new Ws(to, protocols, options);
      socket.on('open', () => {
        resolve(socket.protocol);
        socket.terminate();
      });
      socket.on('unexpected-response', (asked, { statusCode }) => {
        asked.destroy();
        resolve(String(statusCode));
      });
      socket.on('error', (error) => resolve(error.message));
      return promise;
    };
    expect(await open(['v10.stomp', 'v12.stomp', 'v11.stomp'])).toBe('v12.stomp');
    expect(await open(['v11.stomp'])).toBe('v11.stomp');
    expect(await open([])).toBe('');
    expect(await open([], { origin: pod.url })).toBe('');
    expect(await open([], { origin: 'https://elsewhere.example' })).toBe('403');
    expect(await open([], {}, `${url}s`)).toBe('404');
  });

  it('over WebSocket is closed where a message is larger than it may be', async () => {
    const socket = new Ws(`${pod.url.replace('http', 'ws')}/stomp`, 'v12.stomp');
    const { promise, resolve } = Promise.withResolvers<number>();
    socket.on('open', () => socket.send(Buffer.alloc(2_000_000)));
    socket.on('close', resolve);
    socket.on('error', () => undefined);
    expect(await promise).toBe(1009);
  });

  it('leaves other offers to upgrade alone', async () => {
    const { hostname, port } = new URL(pod.url);
    const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' };
    const status = await new Promise((resolve, reject) => {
      const sent = request({ hostname, port, path: '/livez', headers }, (response) => {
        resolve(response.resume().statusCode);
      });
      sent.on('error', reject).end();
    });
    expect(status).toBe(200);
  });
});

describe('STOMP on a pod with a certificate', () => {
  let authority: Authority;
  let files: CertificateFolder;
  let pods: TestPods;
  beforeAll(async () => {
    authority = new Authority();
    files = new CertificateFolder(authority.issue('server'));
    pods = await startTestPods(1, { ...files.environment, TOWPATH_STOMP_LOGIN_SECONDS: '1' });
  });
  afterAll(async () => {
    await pods.stop();
    files.remove();
    authority.remove();
  });

  it('speaks TLS, and nothing else', async () => {
    const [pod] = pods.pods as [Pod];
    const { stompLogin: login, stompPasscode: passcode } = pods.credentials;
    const frame = encodeFrame(
      '1.2',
      'CONNECT',
      Object.entries({ 'accept-version': '1.2', host: '/', login, passcode }),
    );
    const answerOf = (socket: Socket): Promise<string> =>
      new Promise((resolve) => {
        let answer = '';
        socket.on('data', (data: Buffer) => {
          answer += data.toString();
          if (answer.includes('\0')) socket.destroy();
        });
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(answer));
        socket.write(frame);
      });
    const { stompPort: port } = pod;
    expect(await answerOf(connectTls({ port, host: '127.0.0.1', ca: authority.certificate }))).toMatch(/^CONNECTED\n/);
    expect(await answerOf(connect(port, '127.0.0.1'))).not.toMatch(/CONNECTED/);
  });
});
