import { MAX_PROXY_HEADER, readProxyHeader } from '../../../src/stomp/listeners/proxy-header.js';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const CONNECT = Buffer.from('CONNECT\n\n\0');

/** A header of version 2; `length` is written instead of the true one. */
function v2(command: number, family: number, rest: Buffer, length = rest.length): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt8(command, 0);
  head.writeUInt8(family, 1);
  head.writeUInt16BE(length, 2);
  return Buffer.concat([SIGNATURE, head, rest]);
}
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const PORTS = 'd431 f0ad';
const IPV4 = hex(`cb007107 0a000001 ${PORTS}`);
const IPV6 = hex(`20010db8000000000000000000000007 20010db8000000000000000000000001 ${PORTS}`);
const MAPPED = hex(`00000000000000000000ffffcb007107 00000000000000000000ffff0a000001 ${PORTS}`);
const TLV = hex('04 0003 616263');

const GOOD: readonly (readonly [string, Buffer, string | null])[] = [
  ['version 1, IPv4', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 54321 61613\r\n'), '203.0.113.7'],
  ['version 1, IPv6', Buffer.from('PROXY TCP6 2001:db8::7 2001:db8::1 54321 61613\r\n'), '2001:db8::7'],
  ['version 1, unknown', Buffer.from('PROXY UNKNOWN\r\n'), null],
  ['version 1, unknown and more', Buffer.from(`PROXY UNKNOWN ${'f'.repeat(91)}\r\n`), null],
  ['version 2, IPv4', v2(0x21, 0x11, IPV4), '203.0.113.7'],
  ['version 2, IPv4 with a TLV', v2(0x21, 0x11, Buffer.concat([IPV4, TLV])), '203.0.113.7'],
  ['version 2, IPv6', v2(0x21, 0x21, IPV6), '2001:db8::7'],
  ['version 2, IPv4 written as IPv6', v2(0x21, 0x21, MAPPED), '203.0.113.7'],
  ['version 2, the longest', v2(0x21, 0x11, Buffer.concat([IPV4, Buffer.alloc(2036)])), '203.0.113.7'],
  ['version 2, a UNIX socket', v2(0x21, 0x31, Buffer.alloc(216)), null],
  ['version 2, no family', v2(0x21, 0x00, Buffer.alloc(0)), null],
  ['version 2, of the load balancer itself', v2(0x20, 0x00, Buffer.alloc(0)), null],
  ['version 2, of itself with addresses', v2(0x20, 0x11, IPV4), null],
];

const BAD: readonly (readonly [string, Buffer])[] = [
  ['a STOMP frame', CONNECT],
  ['TLS', hex('160301')],
  ['nothing like it', Buffer.from('PROXX')],
  ['another case', Buffer.from('proxy TCP4 203.0.113.7 10.0.0.1 1 2\r\n')],
  ['no address', Buffer.from('PROXY TCP4\r\n')],
  ['an address of the other version', Buffer.from('PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n')],
  ['no addresses at all', Buffer.from('PROXY TCP4 a b 1 2\r\n')],
  ['a wrong destination', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.256 1 2\r\n')],
  ['a port that there is not', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 65536 2\r\n')],
  ['a negative port', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 -1 2\r\n')],
  ['two spaces', Buffer.from('PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n')],
  ['something behind it', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 1 2 3\r\n')],
  ['a transport that there is not', Buffer.from('PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n')],
  ['no end', Buffer.from(`PROXY UNKNOWN ${'f'.repeat(93)}`)],
  ['version 1 of the binary form', v2(0x11, 0x11, IPV4)],
  ['version 3', v2(0x31, 0x11, IPV4)],
  ['a command that there is not', v2(0x22, 0x11, IPV4)],
  ['too few bytes for IPv4', v2(0x21, 0x11, IPV4.subarray(1))],
  ['too few bytes for IPv6', v2(0x21, 0x21, IPV4)],
  ['too long', v2(0x21, 0x11, IPV4, 2049)],
  ['as long as can be written', v2(0x21, 0x11, IPV4, 65_535)],
];

describe('a PROXY header', () => {
  it.each(GOOD)('tells the client: %s', (_, header, source) => {
    const expected = { length: header.length, source };
    expect(readProxyHeader(header)).toEqual(expected);
    expect(readProxyHeader(Buffer.concat([header, CONNECT]))).toEqual(expected);
    for (let length = 0; length < header.length; length += 1) {
      expect([length, readProxyHeader(header.subarray(0, length))]).toEqual([length, undefined]);
    }
  });

  it.each(BAD)('is not this: %s', (_, bytes) => {
    expect(readProxyHeader(bytes)).toBeNull();
    // Nor is what follows from more of it.
    expect(readProxyHeader(Buffer.concat([bytes, Buffer.alloc(MAX_PROXY_HEADER)]))).toBeNull();
  });

  it('never asks for more than it may have', () => {
    for (const [, header] of GOOD) expect(header.length).toBeLessThanOrEqual(MAX_PROXY_HEADER);
    for (const start of [SIGNATURE, Buffer.from('PROXY '), Buffer.from('PROXY UNKNOWN ')]) {
      expect(readProxyHeader(Buffer.concat([start, Buffer.alloc(MAX_PROXY_HEADER, 'a')]))).not.toBeUndefined();
    }
  });

  // A repeat of a run: TOWPATH_FUZZ_SEED.
  it('whatever is damaged, gives an answer that does not depend on the pieces', () => {
    let state = Number(process.env['TOWPATH_FUZZ_SEED'] ?? Date.now() % 2 ** 31);
    const seed = state;
    const below = (end: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return Math.floor((state / 0x80000000) * end);
    };
    const wrong: string[] = [];
    for (let run = 0; run < 20_000; run += 1) {
      const bytes = Buffer.concat([GOOD[below(GOOD.length)]![1], CONNECT]);
      for (let damage = below(4); damage > 0; damage -= 1) bytes[below(Math.min(bytes.length, 120))] = below(256);
      const whole = readProxyHeader(bytes);
      const length = 1 + below(bytes.length);
      const part = readProxyHeader(bytes.subarray(0, length));
      // What was said of a part is not taken back.
      if (part !== undefined && JSON.stringify(part) !== JSON.stringify(whole)) {
        wrong.push(`seed ${seed}, run ${run}: ${length} bytes of ${bytes.toString('hex')}`);
      }
      if ((whole?.length ?? 0) > bytes.length) wrong.push(`seed ${seed}, run ${run}: longer than there is`);
    }
    expect(wrong).toEqual([]);
  });
});
