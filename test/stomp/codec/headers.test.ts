import type { StompVersion } from '../../../src/stomp/codec/frame.js';
import { frameOf, framesOf, VERSIONS } from './support.js';

/** The headers of a SEND frame (or another) with these lines, each without its line feed. */
function headersOf(version: StompVersion, lines: readonly string[], command = 'SEND'): Record<string, string> {
  const text = `${command}\n${lines.map((line) => `${line}\n`).join('')}\n\0`;
  return Object.fromEntries(frameOf(Buffer.from(text), version).headers);
}

describe('escapes', () => {
  it('are none in STOMP 1.0', () => {
    expect(headersOf('1.0', ['a:\\n\\c\\r\\\\\\t\\'])).toEqual({ a: '\\n\\c\\r\\\\\\t\\' });
  });

  it.each(['1.1', '1.2'] as const)('of STOMP %s stand for line feed, colon and backslash, in names too', (version) => {
    expect(headersOf(version, ['a\\cb\\n:\\\\n\\c\\n\\\\'])).toEqual({ 'a:b\n': '\\n:\n\\' });
  });

  it('of STOMP 1.2 stand for carriage return as well', () => {
    expect(headersOf('1.2', ['a:\\r\\n'])).toEqual({ a: '\r\n' });
  });

  it.each([
    ['1.1', '\\r'],
    ['1.1', '\\t'],
    ['1.1', '\\'],
    ['1.1', '\\C'],
    ['1.2', '\\t'],
    ['1.2', '\\'],
    ['1.2', '\\N'],
    ['1.2', '\\\\\\'],
    ['1.2', '\\:'],
    ['1.2', '\\\u00e4'],
  ] as const)('that STOMP %s does not define are refused: %s', (version, text) => {
    const undefinedEscape = expect.objectContaining({
      code: 'InvalidFrame',
      message: expect.stringContaining(`no escape of STOMP ${version}`),
    });
    expect(() => headersOf(version, [`a:${text}`])).toThrow(undefinedEscape);
    expect(() => headersOf(version, [`${text}:a`])).toThrow(undefinedEscape);
  });

  it.each(VERSIONS)('are none in CONNECT, STOMP and CONNECTED, also when it is STOMP %s that is spoken', (version) => {
    for (const command of ['CONNECT', 'STOMP', 'CONNECTED']) {
      const lines = ['accept-version:1.2', 'passcode:a\\nb\\tc\\'];
      expect(headersOf(version, lines, command)).toEqual({ 'accept-version': '1.2', passcode: 'a\\nb\\tc\\' });
    }
  });
});

describe('a colon in a value', () => {
  it.each(VERSIONS)('is kept where it is not escaped, by STOMP %s too', (version) => {
    expect(headersOf(version, ['a:b:c', 'd::'])).toEqual({ a: 'b:c', d: ':' });
    expect(headersOf(version, ['accept-version:1.2', 'host:h:1'], 'CONNECT')).toMatchObject({ host: 'h:1' });
  });
});

describe('spaces and tabs around names and values', () => {
  it('are padding in STOMP 1.0', () => {
    expect(headersOf('1.0', [' \ta \t: \tb c\t '])).toEqual({ a: 'b c' });
    expect(headersOf('1.0', ['content-length: 0'])).toEqual({ 'content-length': '0' });
  });

  it('are no padding if they are other spaces', () => {
    expect(headersOf('1.0', ['a:\u00a0b\u2003\v'])).toEqual({ a: '\u00a0b\u2003\v' });
  });

  it.each(['1.1', '1.2'] as const)('belong to them in STOMP %s', (version) => {
    expect(headersOf(version, [' a\t: b\t'])).toEqual({ ' a\t': ' b\t' });
  });

  it.each([[[]], [['accept-version: 1.0']], [['accept-version:1.0 , 1.0']]])(
    'are padding in a CONNECT that speaks STOMP 1.0 only: %j',
    (lines) => {
      for (const version of VERSIONS) {
        for (const command of ['CONNECT', 'STOMP']) {
          const headers = headersOf(version, ['login: alice ', ...lines, 'content-length: 0'], command);
          expect(headers).toMatchObject({ login: 'alice', 'content-length': '0' });
        }
      }
    },
  );

  it.each(['1.1', '1.0,1.1', ' 1.0 , 1.2 ', '1.3'])('belong to the values of a CONNECT that accepts %j', (versions) => {
    for (const version of VERSIONS) {
      const headers = headersOf(version, ['passcode: secret ', `accept-version:${versions}`], 'CONNECT');
      expect(headers).toEqual({ passcode: ' secret ', 'accept-version': versions });
    }
  });
});

describe('a repeated header', () => {
  it.each(VERSIONS)('has its first value in STOMP %s', (version) => {
    expect(headersOf(version, ['foo:World', 'bar:1', 'foo:Hello'])).toEqual({ foo: 'World', bar: '1' });
    expect(headersOf(version, ['foo:', 'foo:Hello'])).toEqual({ foo: '' });
  });

  it('is repeated where its name is the same without escapes or padding', () => {
    expect(headersOf('1.2', ['a\\cb:1', 'a\\cb:2', 'A\\cb:3'])).toEqual({ 'a:b': '1', 'A:b': '3' });
    expect(headersOf('1.0', ['a:1', ' a:2'])).toEqual({ a: '1' });
  });

  it('may be called as what objects have', () => {
    expect([...frameOf('SEND\n__proto__:a\nconstructor:b\n\n\0').headers]).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
  });
});

describe('lines that end with CR LF', () => {
  it('are read by STOMP 1.2, mixed with others', () => {
    const frame = frameOf('SEND\na:b\r\nc:d\n\r\nbody\r\n\0', '1.2');
    expect([...frame.headers.values()]).toEqual(['b', 'd']);
    expect(frame.body.toString()).toBe('body\r\n');
  });

  it.each(['1.0', '1.1'] as const)('are read by STOMP %s where the command’s line does so', (version) => {
    const frame = frameOf('SEND\r\na:b\r\n\r\nbody\0', version);
    expect([...frame.headers]).toEqual([['a', 'b']]);
    expect(frame.body.toString()).toBe('body');
  });

  it.each(['1.0', '1.1'] as const)('end with a carriage return of their own otherwise, in STOMP %s', (version) => {
    expect(headersOf(version, ['a:b\r', 'c\rd:'])).toEqual({ a: 'b\r', 'c\rd': '' });
    expect(() => framesOf('SEND\na:b\r\n\r\n\0', version)).toThrow(/a header without a colon: "\\r"/);
  });

  it.each(VERSIONS)('are read in CONNECT and STOMP, also when it is STOMP %s that is spoken', (version) => {
    for (const command of ['CONNECT', 'STOMP']) {
      const frame = frameOf(`${command}\naccept-version:1.1\r\nlogin:a\r\r\n\r\n\0`, version);
      expect(Object.fromEntries(frame.headers)).toEqual({ 'accept-version': '1.1', login: 'a\r' });
    }
  });

  it('have one carriage return: any other is escaped in STOMP 1.2', () => {
    for (const line of ['a:b\r\r', 'a:\rb', 'a\r:b']) {
      expect(() => headersOf('1.2', [line])).toThrow(/a carriage return inside a header: write it as \\r/);
    }
  });

  it('are heart-beats where they are blank and between frames', () => {
    for (const version of VERSIONS) expect(framesOf('\r\nSEND\n\n\0\n\r\n\r\nSEND\n\n\0\r\n', version)).toHaveLength(2);
  });
});

describe('headers are refused', () => {
  it.each([
    ['without a colon', 'SEND\na\n\n\0', /a header without a colon: "a"/],
    ['without a name', 'SEND\n:a\n\n\0', /a header without a name: ":a"/],
    ['with invalid UTF-8 in a value', 'SEND\na:\xff\n\n\0', /a header is not UTF-8/],
    ['with invalid UTF-8 in a name', 'SEND\n\xc3:a\n\n\0', /a header is not UTF-8/],
    ['with a surrogate', 'SEND\na:\xed\xa0\x80\n\n\0', /a header is not UTF-8/],
    ['with UTF-8 that is longer than it must be', 'SEND\na:\xc0\x80\n\n\0', /a header is not UTF-8/],
    ['with a NUL', 'SEND\na:\0\n\n\0', /end them with a blank line/],
    ['without a blank line', 'SEND\na:b\n\0', /end them with a blank line/],
    ['without anything', 'SEND\n\0', /end them with a blank line/],
  ])('%s', (_, text, message) => {
    for (const version of VERSIONS) {
      expect(() => framesOf(text, version)).toThrow(expect.objectContaining({ code: 'InvalidFrame' }));
      expect(() => framesOf(text, version)).toThrow(message);
    }
  });

  it('with padding only as a name, in STOMP 1.0', () => {
    expect(() => headersOf('1.0', [' :a'])).toThrow(/without a name/);
  });
});

it('headers are UTF-8 of any length, a byte order mark among it', () => {
  const value = '\ufeff\u00e4\u20ac\u{1f600}\u0301';
  for (const version of VERSIONS)
    expect(headersOf(version, [`${value}:${value}`, 'a:b'])).toEqual({ [value]: value, a: 'b' });
});
