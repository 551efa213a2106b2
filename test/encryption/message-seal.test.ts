import { createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { openMessage, sealMessages, type DataKey } from '../../src/encryption/message-seal.js';

const makeKey = (queueId = 7, id = 3): DataKey => ({ queueId, id, key: createSecretKey(randomBytes(32)) });
const contents = fc.record({
  content: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  properties: fc.option(
    fc.dictionary(fc.string({ unit: 'grapheme', minLength: 1 }), fc.string({ unit: 'grapheme' }), { maxKeys: 20 }),
  ),
});

describe('a sealed message', () => {
  it('opens to what was sealed', () => {
    const key = makeKey();
    fc.assert(
      fc.property(fc.array(contents, { minLength: 1, maxLength: 5 }), (messages) => {
        const opened = sealMessages(key, messages).map((sealed) => openMessage(key, sealed));
        expect(opened).toEqual(messages.map((message) => ({ ...message, properties: message.properties })));
      }),
    );
  });

  it('has 30 bytes more than its content, and never the same nonce', () => {
    const message = { content: Buffer.from('hello'), properties: null };
    const sealed = sealMessages(
      makeKey(),
      Array.from({ length: 1000 }, () => message),
    );
    expect(new Set(sealed.map(({ length }) => length))).toEqual(new Set([35]));
    expect(new Set(sealed.map((bytes) => bytes.subarray(1, 13).toString('hex'))).size).toBe(1000);
  });

  it('holds properties of any size', () => {
    const key = makeKey();
    const message = { content: Buffer.from('x'), properties: { a: 'y'.repeat(300_000) } };
    expect(openMessage(key, sealMessages(key, [message])[0]!)).toEqual(message);
  });

  it('does not open when a bit of it was changed, nor when it was cut', () => {
    const key = makeKey();
    const [sealed] = sealMessages(key, [{ content: Buffer.from('secret'), properties: { a: 'b' } }]);
    for (let index = 0; index < sealed!.length; index += 1) {
      const changed = Buffer.from(sealed!);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(openMessage(key, changed)).toBeNull();
      expect(openMessage(key, sealed!.subarray(0, index))).toBeNull();
    }
    expect(openMessage(key, sealed!)).not.toBeNull();
  });

  it('does not open for another queue, another key id, another key', () => {
    const key = makeKey();
    const [sealed] = sealMessages(key, [{ content: Buffer.from('secret'), properties: null }]);
    expect(openMessage({ ...key, queueId: 8 }, sealed!)).toBeNull();
    expect(openMessage({ ...key, id: 4 }, sealed!)).toBeNull();
    expect(openMessage(makeKey(), sealed!)).toBeNull();
  });
});
