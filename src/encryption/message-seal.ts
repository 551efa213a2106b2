import { createCipheriv, createDecipheriv, randomBytes, type KeyObject } from 'node:crypto';

/*
 * A sealed message, as the column body has it:
 *
 *   sealed   = version nonce ciphertext tag
 *   version  = %x01
 *   nonce    = 12 octets, random
 *   tag      = 16 octets
 *
 * What is sealed, by AES-256-GCM:
 *
 *   plain    = length properties content
 *   length   = of the properties in bytes, 7 bits per octet, lowest first, the highest bit says that more follow
 *   properties = a JSON object of strings as UTF-8, or nothing: there are none
 *
 * Associated data are the version and the ids of queue and data key. The message's id is none of it: the database draws
 * it after the sealing. So a message sealed is 30 bytes longer, or a few more with properties.
 */

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + NONCE_BYTES;
const NOTHING = Buffer.alloc(0);
const CIPHER = 'aes-256-gcm';

export type Properties = Readonly<Record<string, string>>;

/** What of a message is sealed. */
export interface MessageContents {
  readonly content: Buffer;
  readonly properties: Properties | null;
}

/** A data key in the clear, with what it is for. */
export interface DataKey {
  readonly queueId: number;
  readonly id: number;
  readonly key: KeyObject;
}

/** Seals messages with one key; one call to the source of randomness for all of them. */
export function sealMessages(dataKey: DataKey, messages: readonly MessageContents[]): Buffer[] {
  const nonces = randomBytes(NONCE_BYTES * messages.length);
  const context = contextOf(dataKey);
  return messages.map(({ content, properties }, index) => {
    const json = properties === null ? NOTHING : Buffer.from(JSON.stringify(properties));
    const plain = Buffer.concat([lengthOf(json), json, content]);
    const sealed = Buffer.allocUnsafe(HEAD_BYTES + plain.length + TAG_BYTES);
    sealed.writeUInt8(VERSION, 0);
    nonces.copy(sealed, 1, index * NONCE_BYTES, (index + 1) * NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, dataKey.key, sealed.subarray(1, HEAD_BYTES)).setAAD(context);
    // In GCM the whole ciphertext comes with the update, and `final` adds nothing to it.
    cipher.update(plain).copy(sealed, HEAD_BYTES);
    cipher.final();
    cipher.getAuthTag().copy(sealed, HEAD_BYTES + plain.length);
    return sealed;
  });
}

/** Null where these are not the bytes that were sealed with this key for this queue. */
export function openMessage(dataKey: DataKey, sealed: Buffer): MessageContents | null {
  if (sealed[0] !== VERSION || sealed.length < HEAD_BYTES + 1 + TAG_BYTES) return null;
  const decipher = createDecipheriv(CIPHER, dataKey.key, sealed.subarray(1, HEAD_BYTES), { authTagLength: TAG_BYTES })
    .setAAD(contextOf(dataKey))
    .setAuthTag(sealed.subarray(-TAG_BYTES));
  const plain = decipher.update(sealed.subarray(HEAD_BYTES, -TAG_BYTES));
  try {
    // Throws where the tag does not fit; what was deciphered until then is not looked at.
    decipher.final();
  } catch {
    return null;
  }
  let length = 0;
  let offset = 0;
  for (;;) {
    const octet = plain[offset];
    if (octet === undefined) return null;
    length += (octet & 0x7f) * 2 ** (7 * offset);
    offset += 1;
    if (octet < 0x80) break;
  }
  const properties = plain.subarray(offset, offset + length);
  return {
    content: plain.subarray(offset + length),
    properties: length === 0 ? null : (JSON.parse(properties.toString()) as Properties),
  };
}

const contexts = new WeakMap<DataKey, Buffer>();

/** The associated data: made once for a key, which serves many messages. */
function contextOf(dataKey: DataKey): Buffer {
  const known = contexts.get(dataKey);
  if (known !== undefined) return known;
  const { queueId, id } = dataKey;
  const context = Buffer.alloc(17);
  context.writeUInt8(VERSION);
  context.writeBigUInt64BE(BigInt(queueId), 1);
  context.writeBigUInt64BE(BigInt(id), 9);
  contexts.set(dataKey, context);
  return context;
}

function lengthOf({ length }: Buffer): Buffer {
  const octets: number[] = [];
  let rest = length;
  do {
    octets.push((rest % 128) + (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(octets);
}
