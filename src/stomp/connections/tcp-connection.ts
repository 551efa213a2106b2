import type { Socket } from 'node:net';
import { LINGER_MS, type Connection, type ConnectionListener } from './connection.js';

/** After so long without a byte the kernel asks whether the other side is still there. */
const PROBE_PEER_MS = 15_000;

/** STOMP over TCP, or over TLS on it. */
export class TcpConnection implements Connection {
  readonly peerAddress: string;
  private isGathering = false;

  constructor(
    private readonly socket: Socket,
    readonly kind: 'tcp' | 'tls',
    /** What the load balancer says where it comes from; null: nothing. */
    told: string | null = null,
  ) {
    this.peerAddress = (told ?? socket.remoteAddress ?? '').replace(/^::ffff:(?=[\d.]+$)/i, '');
    // Frames are small and waited for.
    socket.setNoDelay(true);
    // Whoever asks for no heart-beats and is gone without a word must not be given messages for long.
    socket.setKeepAlive(true, PROBE_PEER_MS);
    // The event that follows is `close`.
    socket.on('error', () => undefined);
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  listen(listener: ConnectionListener): void {
    this.socket.on('data', (chunk: Buffer) => listener.received(chunk));
    this.socket.on('drain', () => listener.drained());
    // Half of a connection is of no use: what it has sent before was told already.
    this.socket.on('end', () => this.close());
    this.socket.once('close', () => listener.closed());
    // It may have been stopped to take something off its beginning.
    this.socket.resume();
  }

  /** What is written in one turn of the event loop, such as the receipts of one statement, goes to the kernel by one call. */
  write(frame: Buffer, sent?: () => void): void {
    if (!this.socket.writable) return;
    if (!this.isGathering) {
      this.isGathering = true;
      this.socket.cork();
      process.nextTick(() => {
        this.isGathering = false;
        this.socket.uncork();
      });
    }
    this.socket.write(frame, sent === undefined ? undefined : () => sent());
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  close(): void {
    if (this.socket.destroyed) return;
    this.socket.end();
    // Bytes that nobody reads would make the kernel reset the connection, and the last frame be lost.
    this.socket.resume();
    setTimeout(() => this.socket.destroy(), LINGER_MS).unref();
  }

  destroy(): void {
    this.socket.destroy();
  }
}
