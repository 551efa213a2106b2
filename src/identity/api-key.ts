import { hash, randomBytes } from 'node:crypto';

/**
 * Bearer keys look like `towpath_1f0c9a7e_<48 hexadecimal digits>`: the first 16 characters are stored in the clear so
 * that an owner can tell keys apart, of the whole only the SHA-256. Hexadecimal, so that a double click selects all of it.
 */
const API_KEY = /^towpath_[0-9a-f]{8}_[0-9a-f]{48}$/;
const PREFIX_LENGTH = 'towpath_'.length + 8;

/** Tokens that this service makes have 32 characters. */
const AUTH_TOKEN = /^[\x21-\x7e]{16,256}$/;
/** STOMP passcodes as OCI has them: canonical base64, 44 characters of a token that this service makes. */
const BASE64_PASSCODE = /^(?:[A-Za-z0-9+/]{4}){4,64}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** A bearer key as it is shown once, and what is stored of it. */
export interface NewApiKey {
  readonly key: string;
  readonly prefix: string;
  readonly digest: Buffer;
}

/** An auth token as it is shown once, and what is stored of it. */
export interface NewAuthToken {
  readonly token: string;
  /** base64 of the token, as STOMP clients send it. */
  readonly passcode: string;
  readonly digest: Buffer;
}

/** Makes a new bearer key: 192 random bits behind a random prefix. */
export function makeApiKey(): NewApiKey {
  const key = `towpath_${randomBytes(4).toString('hex')}_${randomBytes(24).toString('hex')}`;
  return { key, prefix: key.slice(0, PREFIX_LENGTH), digest: sha256(key) };
}

/**
 * The digest of a well-formed bearer key, in base64; null for anything else, which then costs no look-up. It is made for every request, and as
 * a string at half the cost of a buffer.
 */
export function digestOfApiKey(token: string): string | null {
  return API_KEY.test(token) ? hash('sha256', token, 'base64') : null;
}

/** Makes a new auth token of 192 random bits. */
export function makeAuthToken(): NewAuthToken {
  const token = randomBytes(24).toString('base64url');
  return { token, passcode: Buffer.from(token).toString('base64'), digest: sha256(token) };
}

/**
 * The digests of the auth tokens that a STOMP passcode may stand for: itself, and what its base64 says. None where it can
 * be neither. Which of them it is, is not guessed from its form: tokens that were not made here may have any.
 */
export function digestsOfPasscode(passcode: string): Buffer[] {
  return [
    ...(AUTH_TOKEN.test(passcode) ? [sha256(passcode)] : []),
    ...(BASE64_PASSCODE.test(passcode) ? [sha256(Buffer.from(passcode, 'base64'))] : []),
  ];
}

function sha256(data: string | Buffer): Buffer {
  return hash('sha256', data, 'buffer');
}
