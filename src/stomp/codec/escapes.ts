import type { StompVersion } from './frame.js';

/** What a backslash and this octet mean. Anything else after a backslash is an error: the specifications say "fatal". */
const MEANINGS: Readonly<Record<StompVersion, Readonly<Record<string, string>>>> = {
  '1.0': {},
  '1.1': { n: '\n', c: ':', '\\': '\\' },
  '1.2': { n: '\n', c: ':', '\\': '\\', r: '\r' },
};

/** An undefined escape; `sequence` is what was found, a backslash alone at the end. */
export interface UndefinedEscape {
  readonly sequence: string;
}

/** A name or a value without its escapes. For 1.0, which has none, the text itself. */
export function unescaped(version: StompVersion, text: string): string | UndefinedEscape {
  let at = version === '1.0' ? -1 : text.indexOf('\\');
  if (at < 0) return text;
  const meanings = MEANINGS[version];
  let result = '';
  let from = 0;
  for (; at >= 0; at = text.indexOf('\\', from)) {
    const meaning = meanings[text.charAt(at + 1)];
    if (meaning === undefined) return { sequence: text.slice(at, at + 2) };
    result += text.slice(from, at) + meaning;
    from = at + 2;
  }
  return result + text.slice(from);
}

/** The escapes of a version, for messages. */
export function definedEscapes(version: StompVersion): string {
  return Object.keys(MEANINGS[version])
    .map((octet) => `\\${octet}`)
    .join(' ');
}

/** What has to be looked at twice before it is written: what has an escape in some version, and NUL. */
// eslint-disable-next-line no-control-regex
const NOT_PLAIN = /[\n\r:\\\0]/;
const REPLACEMENT = '\uFFFD';

/**
 * A name or a value with the escapes of this version. NUL has no escape in any version and ends the frame for clients
 * that look for it first, so it becomes U+FFFD.
 */
export function escaped(version: '1.1' | '1.2', text: string): string {
  if (!NOT_PLAIN.test(text)) return text;
  let result = '';
  let from = 0;
  // Once, whatever there is to escape: points in time, which every MESSAGE has, have colons.
  for (let at = 0; at < text.length; at += 1) {
    const replacement = replacementOf(text.charCodeAt(at), version);
    if (replacement === null) continue;
    result += text.slice(from, at) + replacement;
    from = at + 1;
  }
  return result + text.slice(from);
}

/** Null: it stays as it is. */
function replacementOf(code: number, version: '1.1' | '1.2'): string | null {
  switch (code) {
    case 0:
      return REPLACEMENT;
    case 10:
      return '\\n';
    case 13:
      return version === '1.2' ? '\\r' : null;
    case 58:
      return '\\c';
    case 92:
      return '\\\\';
    default:
      return null;
  }
}

/**
 * A value where there are no escapes: a line feed becomes a space, a carriage return too, because some clients take it for
 * the end of the line as well, and NUL becomes U+FFFD.
 */
export function unescapableValue(text: string): string {
  return NOT_PLAIN.test(text) ? text.replace(/[\n\r]/g, ' ').replaceAll('\0', REPLACEMENT) : text;
}

/** A name where there are no escapes: as values, and a colon becomes "_". Without spaces around it: clients trim them. */
export function unescapableName(text: string): string {
  return trimmed(unescapableValue(text).replaceAll(':', '_'));
}

/** Without spaces and tabs around it: nothing else is padding. */
export function trimmed(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isPadding(text.charCodeAt(start))) start += 1;
  while (end > start && isPadding(text.charCodeAt(end - 1))) end -= 1;
  return end - start === text.length ? text : text.slice(start, end);
}

function isPadding(code: number): boolean {
  return code === 32 || code === 9;
}
