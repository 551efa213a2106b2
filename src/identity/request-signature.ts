import { hash, verify, type KeyObject } from 'node:crypto';
import type { SigningKeyName } from '../database/identity-functions.js';

/*
 * OCI request signatures, version 1 (draft-cavage-http-signatures-08 with RSA-SHA256). Pure functions; nothing here
 * throws, whatever a client sends.
 *
 * The signing string is rebuilt from the bytes on the wire: Node hands the target and the header values over as latin1,
 * one character per byte, so `latin1` gives those bytes back. A header that is signed must be there exactly once: Node
 * joins or drops repeated ones depending on their name, which would leave open which of them the signature covers.
 */

/** A request as it came off the wire. */
export interface SignedRequest {
  /** Upper case, as Node has it. */
  readonly method: string;
  /** The raw request target (`req.url`), never a URL that was parsed and put together again. */
  readonly target: string;
  /** Names and values in turns, as Node's `rawHeaders`. */
  readonly rawHeaders: readonly string[];
  /** The bytes received; absent or empty where there are none. */
  readonly body: Buffer | undefined;
}

/** A signature whose form is right: what it claims, not yet whether it is true. */
export interface RequestSignature {
  readonly key: SigningKeyName;
  readonly signature: Buffer;
  /** The signed header names, lower case, in signing order, with their values; the target's value is empty. */
  readonly signed: ReadonlyMap<string, string>;
}

/** `skewed`: everything is right but the date, which is too far from the clock. */
export type Verdict = 'valid' | 'invalid' | 'skewed';

const TARGET = '(request-target)';
const MAX_SKEW_MS = 300_000;
const MAX_AUTHORIZATION_LENGTH = 8192;
const MAX_PARAMETERS = 16;
const MAX_SIGNED_HEADERS = 32;
// Up to RSA-8192: 1,024 bytes.
const MAX_SIGNATURE_LENGTH = 1368;
const METHODS_WITH_BODY = new Set(['POST', 'PUT', 'PATCH']);

// Each class below excludes what may follow it, so that no input makes these backtrack.
const SCHEME = /^Signature[ \t]+/i;
const PARAMETER = /[ \t]*([A-Za-z]{1,32})[ \t]*=[ \t]*"([^"]*)"[ \t]*(,|$)/y;
const HEADER_NAME = /^(?:\(request-target\)|[a-z0-9!#$%&'*+.^_`|~-]{1,128})$/;
const KEY_ID_PART = /^[A-Za-z0-9._:-]{1,255}$/;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
const HTTP_DATE =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/;

/** The value of a header that is there exactly once and not empty, else null. `name` is lower case. */
export function singleHeader(rawHeaders: readonly string[], name: string): string | null {
  let value: string | null = null;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const rawName = rawHeaders[at];
    if (rawName?.length !== name.length || rawName.toLowerCase() !== name) continue;
    if (value !== null) return null;
    value = rawHeaders[at + 1] ?? '';
  }
  return value === '' ? null : value;
}

/**
 * Reads the signature of a request and checks all that needs no key: the form of the Authorization header, that it
 * covers every header it has to, and that those are there once. Null where any of it is wrong.
 */
export function readSignature(request: SignedRequest): RequestSignature | null {
  const authorization = singleHeader(request.rawHeaders, 'authorization');
  const parameters = authorization === null ? null : parseParameters(authorization);
  if (parameters === null) return null;
  // An absent version is tolerated: the SDKs all send it, hand-written scripts often do not.
  if ((parameters.get('version') ?? '1') !== '1' || parameters.get('algorithm') !== 'rsa-sha256') return null;
  const key = parseKeyId(parameters.get('keyid') ?? '');
  const signature = parseBase64(parameters.get('signature') ?? '');
  const signed = collectSigned(request, parameters.get('headers') ?? '');
  return key === null || signature === null || signed === null ? null : { key, signature, signed };
}

/** Checks a signature with the key that its keyId names, then body and date. `now` is in milliseconds since 1970. */
export function verifySignature(request: SignedRequest, claim: RequestSignature, key: KeyObject, now: number): Verdict {
  const { signed, signature } = claim;
  if (!isSignatureOf(request, request.target, claim, key)) {
    const legacy = legacyTarget(request.target);
    if (legacy === request.target || !isSignatureOf(request, legacy, { signed, signature }, key)) return 'invalid';
  }
  if (!isBodyCovered(request.body, signed)) return 'invalid';
  // Only a date that is signed counts: beside a signed x-date the SDK sends a `date` that anybody could change.
  const date = signed.get('x-date') ?? signed.get('date') ?? '';
  if (!HTTP_DATE.test(date)) return 'invalid';
  return Math.abs(now - Date.parse(date)) <= MAX_SKEW_MS ? 'valid' : 'skewed';
}

/**
 * The target as oci-common up to 2.139 signs it. It signs what `url.parse` makes of the URL and sends what `fetch` makes
 * of it: fetch percent-encodes non-ASCII in the query, which url.parse leaves alone, and leaves some ASCII, which
 * url.parse percent-encodes. It stays safe to accept: this is a function of the target on the wire alone, and changes
 * only how the same decoded values are written. The path is not decoded: there the SDK encodes values before both.
 */
export function legacyTarget(target: string): string {
  // Raw non-ASCII on the wire has no legacy form: it would fall together with its percent-encoded twin.
  if (!/^[\x21-\x7e]*$/.test(target)) return target;
  const question = target.indexOf('?');
  const path = question < 0 ? target : target.slice(0, question);
  const query = question < 0 ? '' : target.slice(question);
  return (
    path.replaceAll("'", '%27') +
    query
      .replace(/(?:%[89A-Fa-f][0-9A-Fa-f])+/g, decodeUtf8)
      .replace(/[\\^`{|}']/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
  );
}

/** The bytes of percent-encoded non-ASCII, one character each; as it was where it is no UTF-8, so not made by fetch. */
function decodeUtf8(encoded: string): string {
  try {
    return Buffer.from(decodeURIComponent(encoded)).toString('latin1');
  } catch {
    // URIError: a client encoded these bytes itself, and signed them so.
    return encoded;
  }
}

function parseParameters(authorization: string): Map<string, string> | null {
  const scheme = SCHEME.exec(authorization);
  if (scheme === null || authorization.length > MAX_AUTHORIZATION_LENGTH) return null;
  const parameters = new Map<string, string>();
  for (let at = scheme[0].length; at < authorization.length;) {
    PARAMETER.lastIndex = at;
    const match = PARAMETER.exec(authorization);
    if (match === null || parameters.size === MAX_PARAMETERS) return null;
    const name = (match[1] ?? '').toLowerCase();
    if (parameters.has(name)) return null;
    parameters.set(name, match[2] ?? '');
    at = PARAMETER.lastIndex;
  }
  return parameters;
}

/** Three parts; session tokens (`ST$...`) and anything else is no key of ours. */
function parseKeyId(keyId: string): SigningKeyName | null {
  const [tenancyId, userId, fingerprint, ...more] = keyId.split('/', 4);
  if (tenancyId === undefined || userId === undefined || fingerprint === undefined || more.length > 0) return null;
  return [tenancyId, userId, fingerprint].every((part) => KEY_ID_PART.test(part))
    ? { tenancyId, userId, fingerprint }
    : null;
}

function parseBase64(text: string): Buffer | null {
  return text.length <= MAX_SIGNATURE_LENGTH && BASE64.test(text) ? Buffer.from(text, 'base64') : null;
}

/** The listed headers with their values; null where one that has to be signed is not, or one is missing or repeated. */
function collectSigned(request: SignedRequest, list: string): Map<string, string> | null {
  const names = list.toLowerCase().split(' ', MAX_SIGNED_HEADERS + 1);
  if (names.length > MAX_SIGNED_HEADERS) return null;
  const signed = new Map<string, string>();
  for (const name of names) {
    const value = name === TARGET ? '' : singleHeader(request.rawHeaders, name);
    if (value === null || signed.has(name) || !HEADER_NAME.test(name)) return null;
    signed.set(name, value);
  }
  const required = [TARGET, 'host', signed.has('x-date') ? 'x-date' : 'date'];
  if (METHODS_WITH_BODY.has(request.method)) required.push('content-length', 'content-type', 'x-content-sha256');
  return required.every((name) => signed.has(name)) ? signed : null;
}

function isSignatureOf(
  request: SignedRequest,
  target: string,
  claim: Pick<RequestSignature, 'signed' | 'signature'>,
  key: KeyObject,
): boolean {
  const lines = Array.from(claim.signed, ([name, value]) =>
    name === TARGET ? `${name}: ${request.method.toLowerCase()} ${target}` : `${name}: ${value}`,
  );
  return verify('RSA-SHA256', Buffer.from(lines.join('\n'), 'latin1'), key, claim.signature);
}

/** Length and digest have to be those of the bytes received; bytes that no digest covers could be anybody's. */
function isBodyCovered(body: Buffer | undefined, signed: ReadonlyMap<string, string>): boolean {
  const bytes = body ?? Buffer.alloc(0);
  const length = signed.get('content-length');
  const digest = signed.get('x-content-sha256');
  if (length !== undefined && (!/^\d{1,15}$/.test(length) || Number(length) !== bytes.length)) return false;
  if (digest === undefined) return bytes.length === 0;
  return hash('sha256', bytes, 'base64') === digest;
}
