import * as fc from 'fast-check';
import {
  readSignature,
  type SignedRequest,
  singleHeader,
  verifySignature,
} from '../../src/identity/request-signature.js';
import { makeSigner, signByHand, withHeaders } from './wire.js';

const signer = makeSigner();

function check(request: SignedRequest): string {
  const claim = readSignature(request);
  return claim === null ? 'refused' : verifySignature(request, claim, signer.publicKey, Date.now());
}

describe('the Authorization header', () => {
  const { tenancyId, userId, fingerprint } = signer;

  it.each([
    ['two parts', `${tenancyId}/${userId}`],
    ['four parts', `${tenancyId}/${userId}/${fingerprint}/x`],
    ['an empty part', `${tenancyId}//${fingerprint}`],
    ['a session token', 'ST$eyJhbGciOiJSUzI1NiJ9.e30.c2ln'],
    ['a space', `${tenancyId}/${userId} /${fingerprint}`],
    ['NUL', `${tenancyId}/${userId}\0/${fingerprint}`],
    ['a long part', `${tenancyId}/${'u'.repeat(256)}/${fingerprint}`],
    ['nothing', ''],
  ])('is refused with a keyId of %s', (_, keyId) => {
    expect(check(signByHand(signer, { parameters: { keyId } }))).toBe('refused');
  });

  it.each([
    { version: '2' },
    { version: '' },
    { algorithm: 'rsa-sha1' },
    { algorithm: 'hmac-sha256' },
    { algorithm: '' },
    { headers: '' },
  ])('is refused with %j', (parameters) => {
    expect(check(signByHand(signer, { parameters }))).toBe('refused');
  });

  it('is refused with a repeated parameter, a missing quote, garbage behind, or too much of anything', () => {
    const request = signByHand(signer);
    const authorization = singleHeader(request.rawHeaders, 'authorization') ?? '';
    for (const bad of [
      `${authorization},version="1"`,
      `${authorization},VERSION="1"`,
      authorization.slice(0, -1),
      `${authorization} x`,
      `${authorization},headers=host`,
      authorization.replace('Signature ', 'Signature'),
      authorization.replace('Signature ', 'Basic '),
      `${authorization},filler="${'x'.repeat(8192)}"`,
      `${authorization},${Array.from({ length: 20 }, (_, index) => `${String.fromCharCode(97 + index)}="1"`).join(',')}`,
      'Signature ',
      'Signature',
      '',
    ]) {
      expect(check(withHeaders(request, { authorization: bad }))).toBe('refused');
    }
  });

  it.each([
    [29, 'valid'],
    [30, 'refused'],
  ])('may list %i headers besides the three required: %s', (count, verdict) => {
    const headers = Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, 'value']));
    const list = ['date', '(request-target)', 'host', ...Object.keys(headers)];
    expect(check(signByHand(signer, { list, headers }))).toBe(verdict);
  });

  it('never makes anything throw or pass, whatever it holds', () => {
    const request = signByHand(signer);
    const right = singleHeader(request.rawHeaders, 'authorization') ?? '';
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('Signature ', 'keyId="', 'headers="', '(request-target)', '"', ',', '=', ' ', '/', 'a/b/c', '\t'),
    );
    const garbage = fc.oneof(
      fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join('')),
      fc.array(piece, { maxLength: 40 }).map((pieces) => `Signature ${pieces.join('')}`),
      fc
        .tuple(fc.nat(right.length), piece)
        .map(([at, text]) => right.slice(0, at) + text + right.slice(at + text.length + 1)),
    );
    fc.assert(
      fc.property(garbage, (authorization) => {
        const changed = withHeaders(request, { authorization });
        const claim = readSignature(changed);
        if (claim === null || check(changed) !== 'valid') return;
        // What a change leaves valid (an absent version, another keyId, under which no key is found) covers the same.
        const { signed, signature } = readSignature(request) ?? {};
        expect({ signed: claim.signed, signature: claim.signature }).toEqual({ signed, signature });
      }),
      { numRuns: 3000 },
    );
  });

  it('takes no time that grows faster than its length', () => {
    const request = signByHand(signer);
    // Of the processor: what others take of it is none of ours.
    const before = process.cpuUsage();
    for (const filler of [' ', '\t', 'a', '=', '"', ',', 'a="",', '" ', 'Signature ']) {
      check(withHeaders(request, { authorization: `Signature ${filler.repeat(8000 / filler.length)}` }));
    }
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(500);
  });
});
