import { connect as connectTcp, type Socket } from 'node:net';
import type { Pod } from '../../src/app.js';
import { encodeFrame } from '../../src/stomp/codec/encode-frame.js';
import { FrameReader } from '../../src/stomp/codec/frame-reader.js';
import type { Frame, StompVersion } from '../../src/stomp/codec/frame.js';
import { StompGateway } from '../../src/stomp/stomp-gateway.js';
import { until } from '../pods/support.js';
import type { TestPods } from '../support/pod.js';

type Headers = Readonly<Record<string, string>>;

/** A STOMP client that does exactly what a test says, on a socket of its own. */
export class RawClient {
  readonly frames: Frame[] = [];
  heartBeats = 0;
  isClosed = false;
  version: StompVersion = '1.2';
  private readonly reader = new FrameReader({ headerCount: 10_000, headerBytes: 10_000_000, bodyBytes: 10_000_000 });
  private receipts = 0;

  private constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.reader.push(chunk);
      for (let frame = this.reader.read(); frame !== undefined; frame = this.reader.read()) {
        if (frame === 'heart-beat') {
          this.heartBeats += 1;
          continue;
        }
        if (frame.command === 'CONNECTED') {
          this.version = (frame.headers.get('version') ?? '1.0') as StompVersion;
          this.reader.version = this.version;
        }
        this.frames.push(frame);
      }
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  static open(port: number): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connectTcp(port, '127.0.0.1');
      socket.once('connect', () => resolve(new RawClient(socket)));
      socket.once('error', reject);
    });
  }

  write(command: string, headers: Headers = {}, body?: string | Buffer): void {
    this.socket.write(this.encode(command, headers, body));
  }

  encode(command: string, headers: Headers = {}, body?: string | Buffer): Buffer {
    return encodeFrame(
      this.version,
      command,
      Object.entries(headers),
      body === undefined ? undefined : Buffer.from(body),
    );
  }

  /** Waits for a frame with this command, and headers, and takes it and all before it out. */
  async take(command: string, headers: Headers = {}): Promise<Frame> {
    const matches = (frame: Frame): boolean =>
      frame.command === command && Object.entries(headers).every(([name, value]) => frame.headers.get(name) === value);
    let found: Frame | undefined;
    await until(
      () => {
        found = this.frames.find(matches);
        return found !== undefined || this.isClosed || (command !== 'ERROR' && this.error !== undefined);
      },
      `a frame ${command} ${JSON.stringify(headers)}`,
    );
    if (found === undefined) {
      throw new Error(`${command} ${JSON.stringify(headers)} did not come: ${this.frames.map(show).join('; ')}`);
    }
    this.frames.splice(this.frames.indexOf(found), 1);
    return found;
  }

  get error(): Frame | undefined {
    return this.frames.find(({ command }) => command === 'ERROR');
  }

  /** Sends a frame with a receipt and waits for that. */
  async ask(command: string, headers: Headers = {}, body?: string | Buffer): Promise<void> {
    this.receipts += 1;
    const receipt = `r${this.receipts}`;
    this.write(command, { ...headers, receipt }, body);
    await this.take('RECEIPT', { 'receipt-id': receipt });
  }

  async connect(headers: Headers): Promise<Frame> {
    this.write('CONNECT', { 'accept-version': '1.0,1.1,1.2', host: 'towpath', ...headers });
    return this.take('CONNECTED');
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** Expects that the connection ends with an ERROR. */
export async function expectFailure(client: RawClient, code: string, message?: RegExp): Promise<Frame> {
  const frame = await client.take('ERROR');
  expect({ code: frame.headers.get('code'), message: frame.headers.get('message') }).toEqual({
    code,
    message: message === undefined ? expect.any(String) : expect.stringMatching(message),
  });
  expect(frame.headers.get('opc-request-id')).toMatch(/^[0-9A-F]{32}$/);
  expect(frame.body.toString()).toBe(frame.headers.get('message'));
  await until(() => client.isClosed, 'the connection is closed');
  return frame;
}

function show({ command, headers }: Frame): string {
  return `${command} ${JSON.stringify(Object.fromEntries(headers))}`;
}

export interface StompClients {
  /** A client that is logged in; headers go with its CONNECT. */
  readonly client: (pod?: Pod, headers?: Headers) => Promise<RawClient>;
  /** One that has sent nothing yet. */
  readonly stranger: (pod?: Pod) => Promise<RawClient>;
  readonly login: { readonly login: string; readonly passcode: string };
  /** Closes all, and expects that the pods have forgotten them. */
  readonly close: () => Promise<void>;
}

export function stompClients(pods: TestPods): StompClients {
  const clients: RawClient[] = [];
  const login = { login: pods.credentials.stompLogin, passcode: pods.credentials.stompPasscode };
  const [first] = pods.pods;
  const stranger = async (pod = first): Promise<RawClient> => {
    const made = await RawClient.open(pod!.stompPort);
    clients.push(made);
    return made;
  };
  return {
    login,
    stranger,
    client: async (pod, headers = {}) => {
      const made = await stranger(pod);
      await made.connect({ ...login, ...headers });
      return made;
    },
    close: async () => {
      for (const each of clients.splice(0)) each.destroy();
      for (const pod of pods.pods) {
        await until(() => pod.app.get(StompGateway).open.size === 0, 'all sessions have ended');
      }
    },
  };
}
