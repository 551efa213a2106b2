import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, errors, type CryptoKey } from 'jose';

/*
 * Sealing and opening of messages by their producer and consumer. Nothing here knows a transport: an envelope is a content
 * and properties, which REST carries as `content` and `metadata.customProperties`, and STOMP as body and headers.
 *
 * The envelope is a JWE (RFC 7516) in compact form: a content key per message, A256GCM; that key is agreed upon with the
 * consumer's public key, ECDH-ES+A256KW. So who puts needs no secret, and cannot read what others have put.
 */

const ALGORITHM = 'ECDH-ES+A256KW';
const ENCRYPTION = 'A256GCM';
/** Names the key in the properties, so that a consumer can choose before it opens anything, or filter by it. */
export const KEY_ID_PROPERTY = 'e2eKeyId';

type Properties = Readonly<Record<string, string>>;

/** What the service is given, and gives back. */
export interface Envelope {
  readonly content: string;
  readonly properties: Properties;
}

export interface PlainMessage {
  readonly content: string;
  /** Sealed with the content. */
  readonly secretProperties?: Properties;
  /** Not sealed, for the service's filters; still nobody changes them unnoticed. */
  readonly openProperties?: Properties;
}

/** For whom a producer seals. */
export interface SealingKey {
  readonly keyId: string;
  readonly publicKey: CryptoKey;
}

/** The private keys that a consumer has, by their ids: while keys rotate at least two. */
export type OpeningKeys = ReadonlyMap<string, CryptoKey>;

/**
 * Why an envelope was not opened:
 * - not-sealed: it is none, somebody put a plain message
 * - unknown-key: it was sealed for a key that this consumer does not have (yet, or any more)
 * - not-authentic: it was changed on its way, or the key of that id is another one here than it was for the producer
 */
export type EnvelopeFault = 'not-sealed' | 'unknown-key' | 'not-authentic';

export class EnvelopeError extends Error {
  override readonly name = 'EnvelopeError';
  readonly fault: EnvelopeFault;

  constructor(fault: EnvelopeFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

interface Payload {
  readonly content: string;
  readonly secretProperties: Properties;
  readonly openProperties: Properties;
}

/**
 * Seals a message. `stream` is a name that producer and consumer agree upon, such as that of the queue: an envelope that
 * was moved to another stream does not open there.
 */
export async function sealMessage(message: PlainMessage, stream: string, key: SealingKey): Promise<Envelope> {
  const { content, secretProperties = {}, openProperties = {} } = message;
  const payload: Payload = { content, secretProperties, openProperties };
  const jwe = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(payload)))
    .setProtectedHeader({ alg: ALGORITHM, enc: ENCRYPTION, kid: key.keyId, stream })
    .encrypt(key.publicKey);
  return { content: jwe, properties: { ...openProperties, [KEY_ID_PROPERTY]: key.keyId } };
}

/** Opens an envelope. Throws EnvelopeError. */
export async function openMessage(envelope: Envelope, stream: string, keys: OpeningKeys): Promise<PlainMessage> {
  const keyId = keyIdOf(envelope);
  const key = keys.get(keyId);
  if (key === undefined) {
    throw new EnvelopeError(
      'unknown-key',
      `the message was sealed for key ${keyId}, and this consumer has ${[...keys.keys()].join(', ') || 'none'}`,
    );
  }
  const { plaintext, protectedHeader } = await decrypt(envelope.content, key, keyId);
  if (protectedHeader['stream'] !== stream) {
    throw new EnvelopeError('not-authentic', `the message was sealed for another stream than ${stream}`);
  }
  const { content, secretProperties, openProperties } = JSON.parse(new TextDecoder().decode(plaintext)) as Payload;
  // Further properties may have been added: by a transport, or where the service resends a dead letter.
  for (const [name, value] of Object.entries(openProperties)) {
    if (envelope.properties[name] !== value) {
      throw new EnvelopeError('not-authentic', `the property ${name} is not what it was when the message was sealed`);
    }
  }
  return { content, secretProperties, openProperties };
}

function keyIdOf({ content, properties }: Envelope): string {
  let inside: unknown;
  try {
    inside = decodeProtectedHeader(content).kid;
  } catch (error) {
    throw new EnvelopeError('not-sealed', 'the message is not sealed', { cause: error });
  }
  if (typeof inside !== 'string') throw new EnvelopeError('not-sealed', 'the message does not name its key');
  if (properties[KEY_ID_PROPERTY] !== inside) {
    throw new EnvelopeError('not-authentic', `the property ${KEY_ID_PROPERTY} is not what it was`);
  }
  return inside;
}

async function decrypt(jwe: string, key: CryptoKey, keyId: string): ReturnType<typeof compactDecrypt> {
  try {
    return await compactDecrypt(jwe, key, {
      // Only what we seal with: an envelope does not choose how it is opened.
      keyManagementAlgorithms: [ALGORITHM],
      contentEncryptionAlgorithms: [ENCRYPTION],
    });
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error;
    throw new EnvelopeError(
      'not-authentic',
      `the message does not open with key ${keyId}: it was changed on its way, or the producer has another key of that id`,
      { cause: error },
    );
  }
}
