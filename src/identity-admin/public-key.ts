import { createPublicKey, type KeyObject } from 'node:crypto';
import { ServiceError } from '../errors/service-error.js';

const MIN_BITS = 2048;
/** Signatures of longer keys are not read. */
const MAX_BITS = 8192;
/** With the exponent 1 anybody can sign; small ones have a history of broken implementations. */
const MIN_EXPONENT = 65_537n;
const PEM = /^\s*-----BEGIN ((?:RSA )?PUBLIC KEY)-----\s[A-Za-z0-9+/=\s]+-----END \1-----\s*$/;

/** The key that somebody wants to sign with. Throws InvalidParameter where it is none, or a weak one. */
export function readPublicKey(text: string): KeyObject {
  // Node would make the public half of a private key, which then has been sent over the network.
  if (/PRIVATE KEY/.test(text)) {
    throw refuse('is a private key, which nobody but its owner should have: make a new pair, and send the public half');
  }
  if (!PEM.test(text)) throw refuse('must be one PEM block of a public key, as "openssl rsa -pubout" writes it');
  const key = parse(text);
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== 'rsa') throw refuse('must be an RSA key');
  if (modulusLength < MIN_BITS || modulusLength > MAX_BITS) {
    throw refuse(`must have ${MIN_BITS} to ${MAX_BITS} bits; it has ${modulusLength}`);
  }
  if (publicExponent < MIN_EXPONENT) throw refuse(`must have the public exponent ${MIN_EXPONENT} or a larger one`);
  return key;
}

function parse(text: string): KeyObject {
  try {
    return createPublicKey(text);
  } catch (error) {
    throw refuse('cannot be read as a public key', error);
  }
}

function refuse(problem: string, cause?: unknown): ServiceError {
  return new ServiceError('InvalidParameter', `publicKey ${problem}`, { cause });
}
