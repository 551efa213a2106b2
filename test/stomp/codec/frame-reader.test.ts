import { FrameReader } from '../../../src/stomp/codec/frame-reader.js';
import { cut, frameOf, framesOf, LIMITS, outcomeOf, VERSIONS } from './support.js';

const headersOf = (text: string, version?: '1.0' | '1.1' | '1.2'): Record<string, string> =>
  Object.fromEntries(frameOf(text, version).headers);

const heartBeats = (text: string): number =>
  outcomeOf([Buffer.from(text)]).found.filter((found) => found === 'heart-beat').length;

const tooLarge = (message: RegExp): Error =>
  expect.objectContaining({ code: 'TooLarge', message: expect.stringMatching(message) });

describe('a frame', () => {
  it.each(VERSIONS)('of STOMP %s is a command, headers and a body up to the NUL', (version) => {
    const frame = frameOf('SEND\ndestination:/queue/a\nempty:\n\nhello\nqueue a\0', version);
    expect(frame.command).toBe('SEND');
    expect([...frame.headers]).toEqual([
      ['destination', '/queue/a'],
      ['empty', ''],
    ]);
    expect(frame.body.toString()).toBe('hello\nqueue a');
  });

  it('has as many octets as content-length says, NUL among them', () => {
    const frame = frameOf('SEND\ncontent-length:5\n\na\0b\n\0\0');
    expect(frame.body).toEqual(Buffer.from('a\0b\n\0'));
  });

  it('needs neither headers nor a body', () => {
    expect(frameOf('DISCONNECT\n\n\0')).toEqual({ command: 'DISCONNECT', headers: new Map(), body: Buffer.alloc(0) });
    expect(frameOf('SEND\ncontent-length:0\n\n\0').body).toHaveLength(0);
  });

  it('may be of a command that STOMP does not have', () => {
    expect(frameOf('SHOUT\n\n\0').command).toBe('SHOUT');
  });

  it('has a body of its own, which does not keep the chunk', () => {
    const chunk = Buffer.from('SEND\n\nhello\0');
    const frame = frameOf(chunk);
    chunk.fill('x');
    expect(frame.body.toString()).toBe('hello');
  });
});

describe('content-length', () => {
  it.each(['', '-1', '+1', '1.0', '0x1', ' 1', '1 ', '1e1', 'one', '1,1', '\u0661'])('is not %j', (value) => {
    expect(() => framesOf(Buffer.from(`SEND\ncontent-length:${value}\n\na\0`))).toThrow(
      expect.objectContaining({ code: 'InvalidFrame', message: expect.stringContaining('digits') }),
    );
  });

  it('may have zeros in front', () => {
    expect(frameOf('SEND\ncontent-length:003\n\nabc\0').body.toString()).toBe('abc');
  });

  it('counts octets: what follows them is NUL', () => {
    expect(() => framesOf('SEND\ncontent-length:2\n\nabc\0')).toThrow(/no NUL after the 2 octets/);
  });

  it('is the first of several, as with any header', () => {
    expect(frameOf('SEND\ncontent-length:3\ncontent-length:x\n\na\0c\0').body.toString()).toBe('a\0c');
  });

  it.each(['1048577', '99999999999999999999', '9'.repeat(400)])(
    'above the limit is refused before the body comes: %.24s…',
    (length) => {
      const reader = new FrameReader(LIMITS);
      reader.push(Buffer.from(`SEND\nreceipt:r1\ncontent-length:${length}\n`));
      expect(() => reader.read()).toThrow(expect.objectContaining({ code: 'TooLarge', receipt: 'r1' }));
    },
  );
});

describe('any split', () => {
  it('gives the same', () => {
    const text =
      'CONNECT\r\nlogin:\u00fc\r\n\r\n\0\r\nSEND\na\\cb:\\\\\\n\n\ncontent\0\n\nSEND\ncontent-length:3\n\na\0b\0';
    const bytes = Buffer.from(text);
    const whole = outcomeOf([bytes]);
    expect(whole).toMatchObject({ error: null });
    expect(whole.found).toHaveLength(5);
    for (let place = 1; place < bytes.length; place += 1) {
      expect(outcomeOf(cut(bytes, [place]))).toEqual(whole);
    }
    expect(outcomeOf(cut(bytes, [...bytes.keys()]))).toEqual(whole);
    expect(headersOf('SEND\na\\cb:\\\\\\n\n\n\0')).toEqual({ 'a:b': '\\\n' });
  });
});

describe('heart-beats', () => {
  it('are the ends of lines between frames, as many as come together being one', () => {
    expect(heartBeats('\n')).toBe(1);
    expect(heartBeats('\r\n\n\n')).toBe(1);
    expect(heartBeats('\nSEND\n\n\0\nSEND\n\n\0SEND\n\n\0\n\n')).toBe(3);
    expect(heartBeats('SEND\n\nbody\n\n\0')).toBe(0);
  });

  it('are told each time that some come', () => {
    const reader = new FrameReader(LIMITS);
    for (const text of ['\n', '\r\n', '\n\n']) {
      reader.push(Buffer.from(text));
      expect([reader.read(), reader.read()]).toEqual(['heart-beat', undefined]);
    }
    reader.push(Buffer.from('\r'));
    expect(reader.read()).toBeUndefined();
    reader.push(Buffer.from('\n'));
    expect(reader.read()).toBe('heart-beat');
  });

  it('have no carriage return without a line feed', () => {
    for (const text of ['\r\r\n', '\rSEND\n\n\0', '\n\rS']) {
      expect(() => framesOf(text)).toThrow(/a carriage return between frames/);
    }
  });
});

describe('a command', () => {
  it.each([
    ['connect\n', /a frame begins with the octet 0x63/],
    ['Send\n', /after S comes the octet 0x65/],
    ['SEND \n', /after SEND comes the octet 0x20/],
    ['SEND\r\r\n', /after SEND comes the octet 0x0d/],
    ['SEND\rX', /after SEND comes the octet 0x58/],
    ['GET / HTTP/1.1\r\n', /after GET comes the octet 0x20/],
    ['\x16\x03\x01', /this looks like TLS/],
    ['\0', /a frame begins with the octet 0x00/],
    ['\n\0', /a frame begins with the octet 0x00/],
    ['SEND\n\n\0\0', /a frame begins with the octet 0x00/],
    ['\xc3\xa4', /0xc3/],
  ])('is not %j, and at once', (text, message) => {
    const bytes = Buffer.from(text, 'latin1');
    expect(() => framesOf(bytes)).toThrow(message);
    expect(outcomeOf(cut(bytes, [...bytes.keys()]))).toEqual(outcomeOf([bytes]));
  });

  it('has 32 letters at most', () => {
    expect(frameOf(`${'A'.repeat(32)}\n\n\0`).command).toHaveLength(32);
    const bytes = Buffer.alloc(33, 'A');
    expect(() => framesOf(bytes)).toThrow(expect.objectContaining({ code: 'TooLarge' }));
    expect(outcomeOf(cut(bytes, [...bytes.keys()]))).toEqual(outcomeOf([bytes]));
  });
});

describe('limits', () => {
  const limits = { headerCount: 2, headerBytes: 8, bodyBytes: 3 };
  const read = (text: string): unknown => framesOf(text, '1.2', limits);

  it('allow what reaches them', () => {
    expect(read('SEND\na:b\nc:d\n\nabc\0')).toHaveLength(1);
    expect(read('SEND\na:bcdef\n\nabc\0')).toHaveLength(1);
    expect(read('SEND\r\na:bcde\r\n\r\nabc\0')).toHaveLength(1);
    expect(framesOf('SEND\n\n\0', '1.2', { headerCount: 0, headerBytes: 0, bodyBytes: 0 })).toHaveLength(1);
  });

  it('hold for the number of headers, repeated ones too', () => {
    expect(() => framesOf('SEND\na:\na:\na:\n', '1.2', { ...limits, headerBytes: 100 })).toThrow(
      tooLarge(/more than 2 headers/),
    );
  });

  it('hold for all headers together', () => {
    expect(() => read('SEND\na:b\nc:de\n')).toThrow(tooLarge(/headers have more than 8 octets/));
  });

  it('hold for one header, whose end need not come', () => {
    expect(() => read('SEND\na:bcdefg')).toThrow(tooLarge(/headers have more than 8 octets/));
    expect(() => read('SEND\na:\u00fcbcdef')).toThrow(tooLarge(/headers have more than 8 octets/));
    expect(() => read('SEND\na:b\nc:def')).toThrow(tooLarge(/headers have more than 8 octets/));
    expect(read('SEND\na:bcdef')).toHaveLength(0);
  });

  it('hold for bodies, whose end need not come', () => {
    expect(() => read('SEND\n\nabcd')).toThrow(tooLarge(/body has more than 3 octets/));
    expect(() => read('SEND\n\nabcd\0')).toThrow(tooLarge(/body has more than 3 octets/));
    expect(() => read('SEND\ncontent-length:4')).toThrow(tooLarge(/headers have more than 8 octets/));
  });

  it('may be replaced between frames', () => {
    const reader = new FrameReader({ ...limits, bodyBytes: 0 });
    reader.push(Buffer.from('CONNECT\n\n\0SEND\n\nabc\0'));
    expect(reader.read()).toMatchObject({ command: 'CONNECT' });
    reader.limits = limits;
    expect(reader.read()).toMatchObject({ command: 'SEND' });
  });
});

describe('a reader', () => {
  it('goes on where its caller stopped, by the version that was set meanwhile', () => {
    const reader = new FrameReader(LIMITS);
    const bytes = Buffer.from('CONNECT\n\n\0SEND\na: \\t\n\n\0');
    reader.push(bytes);
    expect(reader.read()).toMatchObject({ command: 'CONNECT' });
    expect(reader.unreadBytes).toBe(bytes.length - 10);
    reader.version = '1.0';
    reader.push(Buffer.from('\n'));
    expect(reader.unreadBytes).toBe(bytes.length - 9);
    expect(reader.read()).toMatchObject({ headers: new Map([['a', '\\t']]) });
    expect([reader.read(), reader.read(), reader.unreadBytes, reader.bufferedBytes]).toEqual([
      'heart-beat',
      undefined,
      0,
      0,
    ]);
  });

  it('tells what it holds', () => {
    const reader = new FrameReader(LIMITS);
    const held = ['SE', 'ND\na', ':b\n', 'c:d\n\nxy', 'z'].map((text) => {
      reader.push(Buffer.from(text));
      reader.read();
      return reader.bufferedBytes;
    });
    expect(held).toEqual([2, 5, 8, 14, 15]);
    reader.push(Buffer.from('\0'));
    expect(reader.read()).toMatchObject({ body: Buffer.from('xyz') });
    expect(reader.bufferedBytes).toBe(0);
  });

  it('stays broken, holds nothing and takes nothing', () => {
    const reader = new FrameReader(LIMITS);
    reader.push(Buffer.from('SEND\nreceipt:r1\na\n'));
    const error = expect.objectContaining({ name: 'FrameError', code: 'InvalidFrame', receipt: 'r1' });
    expect(() => reader.read()).toThrow(error);
    reader.push(Buffer.from('SEND\n\n\0'));
    expect([reader.unreadBytes, reader.bufferedBytes]).toEqual([0, 0]);
    expect(() => reader.read()).toThrow(error);
  });

  it('says of which frame the error is, and what it read of its receipt', () => {
    expect(() => framesOf('SEND\nreceipt:r1\n\n\0ACK\nx\n')).toThrow(
      expect.objectContaining({ message: 'ACK frame: a header without a colon: "x"', receipt: null }),
    );
  });

  it('puts a large body together from pieces of any size', () => {
    const body = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * 7) % 256));
    const head = Buffer.from(`SEND\ncontent-length:${body.length}\n\n`);
    const bytes = Buffer.concat([head, body, Buffer.from([0])]);
    const sizes = [1, 100, 2047, 2048, 5000, 20_000, 70_000, 3];
    const places: number[] = [];
    for (let place = 10, n = 0; place < bytes.length; place += sizes[n % sizes.length]!, n += 1) places.push(place);
    const { found } = outcomeOf(cut(bytes, places));
    expect(found).toEqual([{ command: 'SEND', headers: [['content-length', '200000']], body: body.toString('hex') }]);
  });
});
