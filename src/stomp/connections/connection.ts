/** What a session is told of its connection. */
export interface ConnectionListener {
  received(chunk: Buffer): void;
  /** What was written is with the kernel; more may come. */
  drained(): void;
  /** It is gone, whoever closed it. Nothing else is told after that. */
  closed(): void;
}

/**
 * A connection that carries STOMP, whatever is below: a stream of bytes in both directions. Its bytes are told to one
 * listener from `listen` on.
 */
export interface Connection {
  readonly kind: 'tcp' | 'tls' | 'websocket';
  /** The address of the other side, behind proxies the one that they tell. */
  readonly peerAddress: string;
  /** What was written and is not with the kernel yet. */
  readonly unsentBytes: number;
  listen(listener: ConnectionListener): void;
  /** Writes one frame, or a heart-beat. Never refuses: whoever writes looks at `unsentBytes` before. */
  write(frame: Buffer, sent?: () => void): void;
  /** Nothing is told of what the other side sends until `resume`. */
  pause(): void;
  resume(): void;
  /** Closes when all was sent, and cuts off whoever does not read it. What still comes is thrown away. */
  close(): void;
  /** At once. */
  destroy(): void;
}

/** How long the other side may take to read the last frame and close its half. */
export const LINGER_MS = 2000;
