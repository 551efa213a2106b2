import { encodeFrame } from '../../../src/stomp/codec/encode-frame.js';
import { frameOf, VERSIONS } from './support.js';

const text = (...parameters: Parameters<typeof encodeFrame>): string => encodeFrame(...parameters).toString();

it.each(VERSIONS)('a frame of STOMP %s is written with content-length where it has a body', (version) => {
  expect(text(version, 'RECEIPT', [['receipt-id', 'r1']])).toBe('RECEIPT\nreceipt-id:r1\n\n\0');
  expect(text(version, 'MESSAGE', [['a', '']], Buffer.from('\u00fc\0'))).toBe(
    'MESSAGE\na:\ncontent-length:3\n\n\u00fc\0\0',
  );
  expect(text(version, 'MESSAGE', [], new Uint8Array())).toBe('MESSAGE\ncontent-length:0\n\n\0');
});

it('headers may be a map, and are UTF-8', () => {
  const frame = encodeFrame('1.2', 'MESSAGE', new Map([['\u00e4', '\u{1f600}']]), Buffer.from('\xff', 'latin1'));
  expect(Object.fromEntries(frameOf(frame).headers)).toEqual({ '\u00e4': '\u{1f600}', 'content-length': '1' });
  expect(frameOf(frame).body).toEqual(Buffer.from([255]));
});

it('escapes are those of the version', () => {
  const headers: [string, string][] = [['a:b\\', '\n:\\\r']];
  expect(text('1.2', 'MESSAGE', headers)).toBe('MESSAGE\na\\cb\\\\:\\n\\c\\\\\\r\n\n\0');
  expect(text('1.1', 'MESSAGE', headers)).toBe('MESSAGE\na\\cb\\\\:\\n\\c\\\\\r\n\n\0');
});

it.each([
  ['1.0', 'MESSAGE'],
  ['1.0', 'CONNECTED'],
  ['1.1', 'CONNECTED'],
  ['1.2', 'CONNECTED'],
] as const)('what STOMP %s cannot write in %s is replaced', (version, command) => {
  const headers: [string, string][] = [
    ['a:b', 'c:d\\'],
    ['line\nfeed', 'e\nversion:1.0\r\n\nf'],
    [' a_b\t', 'dropped, because the name is there'],
    ['\u00fc', ' g '],
  ];
  expect(text(version, command, headers)).toBe(`${command}\na_b:c:d\\\nline feed:e version:1.0   f\n\u00fc: g \n\n\0`);
});

it.each(VERSIONS)('no header of STOMP %s ends the frame, makes another or says how long the body is', (version) => {
  const headers: [string, string][] = [
    ['', 'nameless'],
    ['content-length', '1000'],
    ['x', 'a\n\nbody\0MESSAGE\n\n\0'],
    ['y\0:\nz', '\0'],
  ];
  const frame = encodeFrame(version, 'MESSAGE', headers, Buffer.from('abc'));
  expect(frame.indexOf(0)).toBe(frame.length - 1);
  const { body, headers: read } = frameOf(frame, version);
  expect(body.toString()).toBe('abc');
  expect(read.size).toBe(3);
  expect(read.get('content-length')).toBe('3');
  expect(encodeFrame(version, 'MESSAGE', headers).includes('content-length')).toBe(false);
});

it('a lone surrogate becomes U+FFFD, so that headers are UTF-8 in any case', () => {
  expect(frameOf(encodeFrame('1.2', 'MESSAGE', [['a', '\ud800']])).headers.get('a')).toBe('\ufffd');
});
