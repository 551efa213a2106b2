import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { digestOfApiKey, digestsOfPasscode, makeApiKey, makeAuthToken } from '../../src/identity/api-key.js';

describe('API keys', () => {
  it('are found again by the digest of the whole key, and begin with their prefix', () => {
    const { key, prefix, digest } = makeApiKey();
    expect(key).toMatch(/^towpath_[0-9a-f]{8}_[0-9a-f]{48}$/);
    expect(key.startsWith(`${prefix}_`)).toBe(true);
    expect(digestOfApiKey(key)).toBe(digest.toString('base64'));
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
  it('are found again by their own digest, from themselves and from their base64', () => {
    const { token, passcode, digest } = makeAuthToken();
    expect(Buffer.from(passcode, 'base64').toString()).toBe(token);
    expect(digest).toEqual(createHash('sha256').update(token).digest());
    expect(digestsOfPasscode(token)).toContainEqual(digest);
    expect(digestsOfPasscode(passcode)).toContainEqual(digest);
    expect(makeAuthToken().token).not.toBe(token);
  });

  it('of any form are found both ways, since what is base64 may be a token too', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[!-~]{16,190}$/), (token) => {
        const digest = createHash('sha256').update(token).digest();
        expect(digestsOfPasscode(token)).toContainEqual(digest);
        expect(digestsOfPasscode(Buffer.from(token).toString('base64'))).toContainEqual(digest);
      }),
    );
  });

  it('have no digest where the passcode can be neither', () => {
    const { passcode } = makeAuthToken();
    for (const bad of ['', 'short', `${passcode} `, `${passcode}\n`, '\0', 'é'.repeat(20), 'A'.repeat(10_000)]) {
      expect(digestsOfPasscode(bad)).toEqual([]);
    }
  });
});
