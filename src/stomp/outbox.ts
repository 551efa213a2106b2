import type { Hold } from '../memory/memory-budget.js';
import { encodeFrame } from './codec/encode-frame.js';
import type { StompVersion } from './codec/frame.js';
import type { Connection } from './connections/connection.js';
import type { StompFigures } from './stomp-figures.js';

/** What waits to be sent before no more is delivered. What gets under way bring by then comes on top. */
const MAX_UNSENT_BYTES = 262_144;
/** Who has not read for so long what it was sent is cut off, if others need the memory. */
const STALLED_MS = 5000;
const HEART_BEAT = Buffer.from('\n');

type Headers = Iterable<readonly [string, string]>;

export interface MessageToSend {
  readonly headers: Headers;
  readonly body: Buffer;
  /** The kernel has it. Not called where the connection ends before. */
  readonly sent?: () => void;
}

/** What a session sends, in the version that was agreed on, with the memory that it takes until it is sent. */
export class Outbox {
  version: StompVersion = '1.0';
  /** Of frames and heart-beats. */
  sentBytes = 0;
  /** When something was written last, on the monotonic clock; null: never. */
  lastSentAt: number | null = null;
  /** So many bytes were written. */
  wrote: (bytes: number) => void = () => undefined;
  private readonly holds = new Set<Hold>();

  constructor(
    private readonly connection: Connection,
    private readonly figures: StompFigures,
  ) {}

  /** Whether the client reads what it is sent. */
  get hasRoom(): boolean {
    return this.connection.unsentBytes < MAX_UNSENT_BYTES;
  }

  write(command: string, headers: Headers, body?: Buffer, sent?: () => void): void {
    this.figures.count(this.figures.sent, command);
    const frame = encodeFrame(this.version, command, headers, body);
    this.send(frame, sent);
    this.wrote(frame.length);
  }

  heartBeat(): void {
    // Whoever does not read has bytes waiting, which are as good.
    if (this.connection.unsentBytes === 0) this.send(HEART_BEAT);
    this.wrote(0);
  }

  /** Writes MESSAGE frames. `hold` is for their memory until all of them are sent. */
  writeMessages(messages: readonly MessageToSend[], hold: Hold): void {
    const start = performance.now();
    // A message without a body is not nothing.
    hold.set(messages.reduce((sum, { body }) => sum + body.length + 1, 0));
    hold.arrives({
      isSlow: () => performance.now() - start > STALLED_MS,
      cut: () => this.connection.destroy(),
    });
    this.holds.add(hold);
    const last = messages.at(-1);
    for (const message of messages) {
      const { headers, body, sent } = message;
      // They are sent in their order, so with the last one all are.
      const done = message === last ? (): void => this.release(hold, sent) : sent;
      this.write('MESSAGE', headers, body, done);
    }
  }

  /** The connection is gone, and what waited with it. */
  end(): void {
    for (const hold of this.holds) this.release(hold);
  }

  private send(bytes: Buffer, sent?: () => void): void {
    this.sentBytes += bytes.length;
    this.figures.sentBytes += bytes.length;
    this.lastSentAt = performance.now();
    this.connection.write(bytes, sent);
  }

  private release(hold: Hold, then?: () => void): void {
    this.holds.delete(hold);
    hold.release();
    then?.();
  }
}
