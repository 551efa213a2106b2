import { isIP } from 'node:net';

/*
 * The header that a load balancer sends before anything else on a connection, to tell whose it is: the PROXY protocol,
 * version 1 (a line of text) or 2 (binary).
 *
 *   1:  "PROXY TCP4|TCP6 <source> <destination> <source port> <destination port>\r\n", or "PROXY UNKNOWN …\r\n"
 *   2:  12 bytes of signature, 1 of version and command, 1 of family and transport, 2 of length, and so many bytes: the
 *       addresses, and then what we do not look at (TLVs)
 *
 * Where the header names no address of a client (UNKNOWN, LOCAL as of health checks, UNIX sockets) the connection is the load
 * balancer's own.
 */

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Of an IPv4 address as IPv6 writes it. */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');
const V2_HEAD = 16;
const V1_START = Buffer.from('PROXY ', 'latin1');
/** As the protocol has it, with CR LF. */
const V1_MAX = 107;
/** Of addresses and TLVs: a certificate's name or an id of the connection are some hundred bytes. */
const V2_MAX = 2048;
const V1 = /^PROXY (TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5})$/;
const V1_UNKNOWN = /^PROXY UNKNOWN(?: .*)?$/;

const LOCAL = 0x20;
const PROXIED = 0x21;
const INET = 1;
const INET6 = 2;

/** More than this is never needed to read a header, or to see that there is none. */
export const MAX_PROXY_HEADER = V2_HEAD + V2_MAX;

export interface ProxyHeader {
  /** Where what the client has sent begins. */
  readonly length: number;
  /** The client's address; null: none is told. */
  readonly source: string | null;
}

/** The header at the beginning of `bytes`. Undefined: it is not whole yet. Null: that is no such header. */
export function readProxyHeader(bytes: Buffer): ProxyHeader | null | undefined {
  const isV2 = startsLike(bytes, SIGNATURE);
  if (!isV2 && !startsLike(bytes, V1_START)) return null;
  return isV2 ? readV2(bytes) : readV1(bytes);
}

/** Whether they are the same as far as both go. */
function startsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.subarray(0, length).equals(start.subarray(0, length));
}

function readV1(bytes: Buffer): ProxyHeader | null | undefined {
  const end = bytes.subarray(0, V1_MAX).indexOf('\r\n');
  if (end === -1) return bytes.length >= V1_MAX ? null : undefined;
  const line = bytes.toString('latin1', 0, end);
  const length = end + 2;
  if (V1_UNKNOWN.test(line)) return { length, source: null };
  const [, family, source = '', destination = '', ...ports] = V1.exec(line) ?? [];
  const version = family === 'TCP4' ? 4 : 6;
  const isGood =
    family !== undefined &&
    isIP(source) === version &&
    isIP(destination) === version &&
    ports.every((port) => Number(port) <= 65_535);
  return isGood ? { length, source } : null;
}

function readV2(bytes: Buffer): ProxyHeader | null | undefined {
  if (bytes.length < V2_HEAD) return undefined;
  const command = bytes.readUInt8(12);
  const family = bytes.readUInt8(13) >> 4;
  const rest = bytes.readUInt16BE(14);
  if (rest > V2_MAX || (command !== LOCAL && command !== PROXIED)) return null;
  const length = V2_HEAD + rest;
  const size = family === INET ? 4 : family === INET6 ? 16 : 0;
  const isTold = command === PROXIED && size > 0;
  // Two addresses and two ports.
  if (isTold && rest < 2 * size + 4) return null;
  if (bytes.length < length) return undefined;
  return { length, source: isTold ? textOf(bytes.subarray(V2_HEAD, V2_HEAD + size)) : null };
}

function textOf(address: Buffer): string {
  if (address.length === 4) return address.join('.');
  if (startsLike(address, MAPPED)) return address.subarray(MAPPED.length).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(2 * index).toString(16));
  // As URLs are written: in the shortest form.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}
