import { connect, type Socket } from 'node:net';
import { encodeFrame } from '../../../src/stomp/codec/encode-frame.js';
import { FrameReader } from '../../../src/stomp/codec/frame-reader.js';
import type { Frame, StompVersion } from '../../../src/stomp/codec/frame.js';
import { clock } from '../history.js';

export type Headers = Readonly<Record<string, string>>;

const LIMITS = { headerCount: 1000, headerBytes: 1_000_000, bodyBytes: 1_000_000 };

/** What happens on a wire. */
export interface WireListener {
  frame(frame: Frame): void;
  /** Once. Nothing comes after that. */
  closed(): void;
}

/** A connection of a STOMP client that does nothing by itself but heart-beats. */
export class Wire {
  version: StompVersion = '1.2';
  private readonly reader = new FrameReader(LIMITS);
  private beating: NodeJS.Timeout | undefined;

  private constructor(private readonly socket: Socket) {}

  /** Fails where the connection is refused. */
  static async open(port: number, listener: WireListener): Promise<Wire> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    const wire = new Wire(socket);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('connect', resolve);
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => wire.take(chunk, listener));
    socket.once('close', () => {
      clearInterval(wire.beating);
      listener.closed();
    });
    await promise;
    return wire;
  }

  /** Returns when that was. */
  write(command: string, headers: Headers = {}, body?: string): number {
    const at = clock();
    if (this.socket.writable) this.socket.write(this.encode(command, headers, body));
    return at;
  }

  encode(command: string, headers: Headers = {}, body?: string): Buffer {
    return encodeFrame(
      this.version,
      command,
      Object.entries(headers),
      body === undefined ? undefined : Buffer.from(body),
    );
  }

  beat(everyMs: number): void {
    this.beating = setInterval(() => {
      if (this.socket.writable) this.socket.write('\n');
    }, everyMs);
  }

  /** Neither reads nor writes from now on, and does not go away. */
  stall(): void {
    clearInterval(this.beating);
    this.socket.pause();
  }

  /** Reads what has come meanwhile. */
  wake(): void {
    this.socket.resume();
  }

  destroy(): void {
    this.socket.destroy();
  }

  private take(chunk: Buffer, listener: WireListener): void {
    this.reader.push(chunk);
    for (let read = this.reader.read(); read !== undefined; read = this.reader.read()) {
      if (read === 'heart-beat') continue;
      if (read.command === 'CONNECTED') {
        this.version = (read.headers.get('version') ?? '1.0') as StompVersion;
        this.reader.version = this.version;
      }
      listener.frame(read);
    }
  }
}
