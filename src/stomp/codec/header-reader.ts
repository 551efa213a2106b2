import { definedEscapes, trimmed, unescaped } from './escapes.js';
import { FrameError } from './frame-error.js';
import { isNeverEscaped, type FrameLimits, type StompVersion } from './frame.js';
import { FOUND_NULL, LineCollector, NOT_YET, TOO_LONG } from './line-collector.js';

const QUOTED_CHARACTERS = 40;

/** Reads the header lines of one frame after the other, by the rules that stand at the head of frame-reader.ts. */
export class HeaderReader {
  private readonly line = new LineCollector();
  private command = '';
  /** The version whose escapes are read; 1.0: none. */
  private escapes: StompVersion = '1.0';
  private isConnect = false;
  private isPadded = false;
  private mayEndWithReturn = false;
  private mayHoldReturns = false;
  private headers = new Map<string, string>();
  private count = 0;
  private bytes = 0;
  private length: number | null = null;

  /** Of the lines read and of the one that is not whole yet. */
  get heldBytes(): number {
    return this.bytes + this.line.heldBytes;
  }

  /** The length of the body; null: it ends with the first NUL. */
  get contentLength(): number | null {
    return this.length;
  }

  begin(command: string, version: StompVersion, endedWithReturn: boolean): void {
    const isNeutral = isNeverEscaped(command);
    this.command = command;
    this.isConnect = isNeutral && command !== 'CONNECTED';
    this.escapes = isNeutral ? '1.0' : version;
    this.isPadded = version === '1.0' && !this.isConnect;
    this.mayEndWithReturn = isNeutral || version === '1.2' || endedWithReturn;
    this.mayHoldReturns = isNeutral || version !== '1.2';
  }

  /** Returns the offset behind the blank line; NOT_YET where it has not come, and all of the chunk is used up. */
  read(chunk: Buffer, offset: number, limits: FrameLimits): number {
    const { line } = this;
    for (let start = offset; ;) {
      // The line feed counts as well. The blank line is there whatever is left, and may have a carriage return.
      const next = line.collect(chunk, start, Math.max(1, limits.headerBytes - this.bytes - 1));
      if (next === NOT_YET) return NOT_YET;
      if (next === FOUND_NULL) {
        throw this.error(
          'InvalidFrame',
          'a NUL among the headers: end them with a blank line, also where there is no body',
        );
      }
      if (next === TOO_LONG) throw this.tooLongHeaders(limits);
      const bytes = line.length + 1;
      if (this.mayEndWithReturn) line.trimCarriageReturn();
      if (line.length === 0) {
        this.finish();
        return next;
      }
      this.count += 1;
      if (this.count > limits.headerCount) {
        throw this.error('TooLarge', `it has more than ${limits.headerCount} headers: send fewer`);
      }
      this.bytes += bytes;
      if (this.bytes > limits.headerBytes) throw this.tooLongHeaders(limits);
      this.take(limits);
      start = next;
    }
  }

  /** What was read; nothing is held afterwards. */
  end(): ReadonlyMap<string, string> {
    const { headers } = this;
    this.headers = new Map();
    this.line.clear();
    this.count = 0;
    this.bytes = 0;
    this.length = null;
    return headers;
  }

  /** An error of this frame. */
  error(code: FrameError['code'], message: string): FrameError {
    return new FrameError(code, `${this.command} frame: ${message}`, this.headers.get('receipt') ?? null);
  }

  tooLargeBody(limits: FrameLimits): FrameError {
    return this.error('TooLarge', `its body has more than ${limits.bodyBytes} octets: send a smaller one`);
  }

  private tooLongHeaders(limits: FrameLimits): FrameError {
    return this.error(
      'TooLarge',
      `its headers have more than ${limits.headerBytes} octets: send fewer or shorter ones`,
    );
  }

  /** Takes the line as a header. */
  private take(limits: FrameLimits): void {
    const { line } = this;
    // Decoded as a whole: slices of a string cost less than parts of the bytes.
    const text = line.text();
    if (!line.isUtf8()) throw this.error('InvalidFrame', `a header is not UTF-8: ${quoted(text)}`);
    const colon = text.indexOf(':');
    if (colon < 0) throw this.error('InvalidFrame', `a header without a colon: ${quoted(text)}`);
    if (!this.mayHoldReturns && line.hasCarriageReturn()) {
      throw this.error('InvalidFrame', 'a carriage return inside a header: write it as \\r');
    }
    let name = this.plain(text.slice(0, colon));
    let value = this.plain(text.slice(colon + 1));
    if (this.isPadded || this.isConnect) name = trimmed(name);
    if (this.isPadded) value = trimmed(value);
    if (name === '') throw this.error('InvalidFrame', `a header without a name: ${quoted(text)}`);
    if (this.headers.has(name)) return;
    this.headers.set(name, value);
    if (name === 'content-length') this.length = this.lengthOf(value, limits);
  }

  private plain(text: string): string {
    const plain = unescaped(this.escapes, text);
    if (typeof plain === 'string') return plain;
    throw this.error(
      'InvalidFrame',
      `${plain.sequence} is no escape of STOMP ${this.escapes}, which has ${definedEscapes(this.escapes)}: write a backslash as \\\\`,
    );
  }

  private lengthOf(value: string, limits: FrameLimits): number {
    const digits = this.isConnect ? trimmed(value) : value;
    if (!/^\d+$/.test(digits)) {
      throw this.error('InvalidFrame', `content-length is ${quoted(value)}: send the octets of the body in digits`);
    }
    const length = Number(digits);
    if (length > limits.bodyBytes) throw this.tooLargeBody(limits);
    return length;
  }

  /** At the blank line. What is left to do is what only all headers together tell: the version that CONNECT speaks. */
  private finish(): void {
    this.line.clear();
    if (!this.isConnect || acceptsNewer(this.headers.get('accept-version'))) return;
    for (const [name, value] of this.headers) this.headers.set(name, trimmed(value));
  }
}

/** Whether an accept-version, of which there may be none, names anything but 1.0. */
function acceptsNewer(versions: string | undefined): boolean {
  return versions !== undefined && versions.split(',').some((version) => trimmed(version) !== '1.0');
}

/** As JSON, and not more of it than a person reads. */
function quoted(text: string): string {
  return JSON.stringify(text.length > QUOTED_CHARACTERS ? `${text.slice(0, QUOTED_CHARACTERS)}…` : text);
}
