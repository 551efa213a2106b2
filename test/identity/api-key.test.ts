import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { digestOfApiKey, digestOfPasscode, makeApiKey, makeAuthToken } from '../../src/identity/api-key.js';

describe('API keys', () => {
  it('are found again by the digest of the whole key, and begin with their prefix', () => {
    const { key, prefix, digest } = makeApiKey();
    expect(key).toMatch(/^towpath_[0-9a-f]{8}_[0-9a-f]{48}$/);
    expect(key.startsWith(`${prefix}_`)).toBe(true);
    expect(digestOfApiKey(key)).toEqual(digest);
    expect(digest).toEqual(createHash('sha256').update(key).digest());
    expect(makeApiKey().key).not.toBe(key);
  });

  it('that are not well-formed have no digest, so they cost no look-up', () => {
    const { key } = makeApiKey();
    for (const bad of ['', 'towpath_', key.slice(1), `${key}0`, `${key}\n`, key.toUpperCase(), ` ${key}`]) {
      expect(digestOfApiKey(bad)).toBeNull();
    }
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => digestOfApiKey(text) === null));
  });
});

describe('auth tokens', () => {
  it('are found again by the digest of what their passcode encodes', () => {
    const { passcode, digest } = makeAuthToken();
    expect(digestOfPasscode(passcode)).toEqual(digest);
    expect(digest).toEqual(createHash('sha256').update(Buffer.from(passcode, 'base64')).digest());
    expect(makeAuthToken().passcode).not.toBe(passcode);
  });

  it('have no digest where the passcode is not base64', () => {
    const { passcode } = makeAuthToken();
    for (const bad of ['', passcode.slice(1), `${passcode} `, `${passcode}\n`, '\0', 'é', 'A'.repeat(10_000)]) {
      expect(digestOfPasscode(bad)).toBeNull();
    }
  });
});
