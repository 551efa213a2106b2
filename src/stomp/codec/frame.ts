export type StompVersion = '1.0' | '1.1' | '1.2';

/** One frame, as it is meant: names and values are unescaped, of repeated headers it has the first. */
export interface Frame {
  readonly command: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export interface FrameLimits {
  /** Header lines of one frame. */
  readonly headerCount: number;
  /** All header lines of one frame together, with their ends; so a single one has no more either. */
  readonly headerBytes: number;
  readonly bodyBytes: number;
}

const BEFORE_THE_VERSION_IS_KNOWN: ReadonlySet<string> = new Set(['CONNECT', 'STOMP', 'CONNECTED']);

/**
 * Whether such a frame is never escaped, whatever the version: it is read and written before both sides know that. The
 * specifications name CONNECT and CONNECTED, and demand that STOMP is handled in the same manner as CONNECT.
 */
export function isNeverEscaped(command: string): boolean {
  return BEFORE_THE_VERSION_IS_KNOWN.has(command);
}
