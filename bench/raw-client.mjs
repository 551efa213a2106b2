// HTTP/1.1 with as little work of its own as a client can have, so that what is measured is the server. One connection with
// one request at a time; bodies with a content-length only.
import { connect } from 'node:net';

/** Resolves to the parsed answer; rejects where it is not 2xx or the connection ends. `close` ends it. */
export function openRawClient(port, headers = {}) {
  const common = Object.entries({ host: 'localhost', ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  let socket = null;
  let received = Buffer.alloc(0);
  let settle = null;
  const open = () => {
    const opened = connect({ port, host: '127.0.0.1', noDelay: true });
    opened.on('data', (chunk) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const end = received.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = received.toString('latin1', 0, end);
      const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
      if (received.length < end + 4 + length) return;
      const text = received.toString('utf8', end + 4, end + 4 + length);
      received = Buffer.alloc(0);
      // What comes without a request tells that the connection was idle for too long.
      settle?.(Number(head.slice(9, 12)), text);
      settle = null;
    });
    opened.on('error', () => undefined);
    opened.on('close', () => {
      if (socket === opened) socket = null;
      settle?.(0, 'the connection was closed');
    });
    return opened;
  };
  const client = (method, target, body = '') =>
    new Promise((resolve, reject) => {
      socket ??= open();
      settle = (status, text) => {
        if (status >= 200 && status < 300) resolve(text.startsWith('{') ? JSON.parse(text) : text);
        else reject(new Error(`${method} ${target}: ${status} ${text}`));
      };
      const type = body === '' ? '' : 'content-type: application/json\r\n';
      socket.write(
        `${method} ${target} HTTP/1.1\r\n${common}${type}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    });
  client.close = () => socket?.destroy();
  return client;
}
