import { FrameReader } from '../../../src/stomp/codec/frame-reader.js';
import { cut, frameOf, framesOf, LIMITS, outcomeOf, VERSIONS } from './support.js';

const headersOf = (text: string, version?: '1.0' | '1.1' | '1.2'): Record<string, string> =>
  Object.fromEntries(frameOf(text, version).headers);

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
    'above the limit is refused before the body comes: %s',
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
