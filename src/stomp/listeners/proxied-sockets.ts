import type { Socket } from 'node:net';
import { MAX_PROXY_HEADER, readProxyHeader } from './proxy-header.js';

/** Why a connection did not get through: it ended before it said anything, as health checks do, or what came is no header. */
type Failure = 'silent' | 'wrong';

/**
 * Takes the PROXY header off a new connection. Then `done` is called with the client's address, null: the one that the
 * connection comes from; what came after the header is in the socket again. Where none comes within `milliseconds`, or
 * something else does, the connection is cut and `failed` called.
 */
export function takeProxyHeader(
  socket: Socket,
  milliseconds: number,
  done: (source: string | null) => void,
  failed: (why: Failure) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  const stop = (): void => {
    clearTimeout(timer);
    socket.off('data', onData);
    socket.off('close', onClose);
  };
  const fail = (why: Failure): void => {
    stop();
    socket.destroy();
    failed(why);
  };
  const onClose = (): void => fail(bytes.length === 0 ? 'silent' : 'wrong');
  const onData = (chunk: Buffer): void => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const header = readProxyHeader(bytes);
    if (header === undefined && bytes.length < MAX_PROXY_HEADER) return;
    if (header === undefined || header === null) {
      fail('wrong');
      return;
    }
    stop();
    socket.pause();
    const rest = bytes.subarray(header.length);
    if (rest.length > 0) socket.unshift(rest);
    done(header.source);
  };
  const timer = setTimeout(() => fail('wrong'), milliseconds).unref();
  // The event that follows is `close`.
  socket.on('error', () => undefined);
  socket.on('close', onClose);
  socket.on('data', onData);
}
