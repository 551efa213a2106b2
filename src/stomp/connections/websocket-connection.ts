import { isUtf8 } from 'node:buffer';
import type { RawData, WebSocket } from 'ws';
import { LINGER_MS, type Connection, type ConnectionListener } from './connection.js';

/** Why a WebSocket ends that has nothing more to say (RFC 6455, 7.4.1). */
const NORMAL = 1000;

/**
 * STOMP over WebSocket. What arrives is one stream, however the client cuts it into messages, text or binary. What is sent is
 * a message per frame: text, which old clients in browsers expect, unless its bytes are no UTF-8.
 */
export class WebSocketConnection implements Connection {
  readonly kind = 'websocket';
  private pending = 0;
  private isClosing = false;

  constructor(
    private readonly socket: WebSocket,
    readonly peerAddress: string,
  ) {
    // The event that follows is `close`.
    socket.on('error', () => undefined);
  }

  get unsentBytes(): number {
    return this.pending;
  }

  listen(listener: ConnectionListener): void {
    this.socket.on('message', (data: RawData) => {
      if (!this.isClosing) listener.received(bytesOf(data));
    });
    this.socket.once('close', () => listener.closed());
    this.drained = (): void => listener.drained();
  }

  write(frame: Buffer, sent?: () => void): void {
    if (this.socket.readyState !== this.socket.OPEN) return;
    this.pending += frame.length;
    this.socket.send(frame, { binary: !isUtf8(frame) }, (error) => {
      this.pending -= frame.length;
      // One that failed is followed by `close`.
      if (error !== undefined && error !== null) return;
      sent?.();
      if (this.pending === 0) this.drained();
    });
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  close(): void {
    if (this.isClosing) return;
    this.isClosing = true;
    this.socket.resume();
    this.socket.close(NORMAL);
    setTimeout(() => this.socket.terminate(), LINGER_MS).unref();
  }

  destroy(): void {
    this.socket.terminate();
  }

  private drained: () => void = () => undefined;
}

function bytesOf(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
