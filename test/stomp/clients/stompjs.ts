import { Client, Versions, type IStompSocket } from '@stomp/stompjs';
import { connect as connectTcp } from 'node:net';
import { WebSocket } from 'ws';

export interface StompjsTarget {
  readonly host: string;
  readonly port: number;
  readonly login: string;
  readonly passcode: string;
}

interface ConnectOptions {
  /** Those to offer; all of them if absent. */
  readonly stompVersions?: Versions;
}

/** A client over WebSocket, connected. It does not reconnect: a test sees what happens. */
export function stompjsOverWebSocket(
  url: string,
  target: StompjsTarget,
  options: ConnectOptions = {},
): Promise<Client> {
  return connected(target, options, () => new WebSocket(url, ['v12.stomp', 'v11.stomp', 'v10.stomp']));
}

/** A client over TCP, connected, as Node programs have it: a socket that looks like a WebSocket. */
export function stompjsOverTcp(target: StompjsTarget, options: ConnectOptions = {}): Promise<Client> {
  return connected(target, options, () => tcpSocket(target));
}

function connected(
  { login, passcode }: StompjsTarget,
  options: ConnectOptions,
  webSocketFactory: () => IStompSocket,
): Promise<Client> {
  return new Promise((resolve, reject) => {
    const client = new Client({
      webSocketFactory,
      reconnectDelay: 0,
      connectHeaders: { login, passcode },
      // A heart-beat would hide a frame that is answered only when something follows it.
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
      ...options,
      onConnect: () => resolve(client),
      onStompError: (frame) => reject(new Error(frame.headers['message'] ?? 'ERROR')),
      onWebSocketError: () => reject(new Error('the connection failed')),
    });
    client.activate();
  });
}

/** What stompjs needs of a WebSocket, on a TCP socket. */
function tcpSocket({ host, port }: StompjsTarget): IStompSocket {
  const socket = connectTcp(port, host);
  const adapter: IStompSocket = {
    url: `tcp://${host}:${port}`,
    readyState: 0,
    binaryType: 'arraybuffer',
    onopen: null,
    onmessage: null,
    onerror: null,
    onclose: null,
    send: (data) => void socket.write(typeof data === 'string' ? data : Buffer.from(data as ArrayBuffer)),
    close: () => void socket.end(),
    terminate: () => void socket.destroy(),
  };
  const states = adapter as { readyState: number };
  socket.on('connect', () => {
    states.readyState = 1;
    adapter.onopen?.({});
  });
  socket.on('data', (chunk: Buffer) => adapter.onmessage?.({ data: new Uint8Array(chunk).buffer }));
  socket.on('error', (error) => adapter.onerror?.(error));
  socket.on('close', () => {
    states.readyState = 3;
    adapter.onclose?.({});
  });
  return adapter;
}
