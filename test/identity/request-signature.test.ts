import {
  legacyTarget,
  readSignature,
  type SignedRequest,
  singleHeader,
  verifySignature,
} from '../../src/identity/request-signature.js';
import { makeSigner, type Making, signByHand, STYLES, withHeaders } from './wire.js';

const signer = makeSigner();
const put: Making = { method: 'POST', target: '/20210201/queues/q/messages', body: '{"messages":[]}' };

function check(request: SignedRequest, now = Date.now()): string {
  const claim = readSignature(request);
  return claim === null ? 'refused' : verifySignature(request, claim, signer.publicKey, now);
}

describe('the signatures that SDKs make', () => {
  it.each(['python', 'go', 'java', 'typescript'] as const)('accepts those of %s, with and without a body', (style) => {
    expect(check(signByHand(signer, { style }))).toBe('valid');
    expect(check(signByHand(signer, { style, method: 'DELETE' }))).toBe('valid');
    expect(check(signByHand(signer, { style, method: 'HEAD' }))).toBe('valid');
    expect(check(signByHand(signer, { ...put, style }))).toBe('valid');
    expect(check(signByHand(signer, { ...put, style, method: 'PUT', body: '' }))).toBe('valid');
    expect(check(signByHand(signer, { ...put, style, method: 'PATCH', body: 'é 日本' }))).toBe('valid');
  });

  it('names the key', () => {
    expect(readSignature(signByHand(signer))?.key).toEqual({
      tenancyId: signer.tenancyId,
      userId: signer.userId,
      fingerprint: signer.fingerprint,
    });
  });

  it('accepts scheme, parameter and header names in any case, an absent version, more signed headers', () => {
    const request = signByHand(signer, {
      list: ['Date', '(Request-Target)', 'HOST', 'opc-obo-token'],
      headers: { 'opc-obo-token': 'token' },
    });
    const authorization = singleHeader(request.rawHeaders, 'authorization') ?? '';
    expect(check(request)).toBe('valid');
    const other = authorization
      .replace('Signature ', 'SIGNATURE  ')
      .replace('keyId', 'KEYID')
      .replace(',version="1"', '');
    expect(other).not.toContain('version');
    expect(check(withHeaders(request, { authorization: other }))).toBe('valid');
  });

  it('verifies the bytes of the target and the headers, whatever they are', () => {
    // Node shows each byte as one character.
    const target = `/20210201/queues?displayName=${Buffer.from('é').toString('latin1')}`;
    expect(check(signByHand(signer, { target }))).toBe('valid');
    expect(
      check(signByHand(signer, { list: ['date', '(request-target)', 'host', 'x-name'], headers: { 'x-name': 'ÿ' } })),
    ).toBe('valid');
  });
});

describe('tampering', () => {
  const request = signByHand(signer, put);

  it('refuses another method, target, host, content type or date', () => {
    expect(check(request)).toBe('valid');
    expect(check({ ...request, method: 'PUT' })).toBe('invalid');
    expect(check({ ...request, target: '/20210201/queues/p/messages' })).toBe('invalid');
    expect(check({ ...request, target: `${request.target}?x=1` })).toBe('invalid');
    expect(check(withHeaders(request, { host: 'elsewhere' }))).toBe('invalid');
    expect(check(withHeaders(request, { 'content-type': 'text/plain' }))).toBe('invalid');
    expect(check(withHeaders(request, { date: new Date(Date.now() + 1000).toUTCString() }))).toBe('invalid');
  });

  it('refuses another body, also of the same length, and none', () => {
    expect(check({ ...request, body: Buffer.from('{"messages":[1]}') })).toBe('invalid');
    expect(check({ ...request, body: Buffer.from('{"messages":{}}') })).toBe('invalid');
    expect(check({ ...request, body: undefined })).toBe('invalid');
  });

  it('refuses a signed digest or length that is not the body’s', () => {
    expect(check(signByHand(signer, { ...put, headers: { 'x-content-sha256': 'AAAA' } }))).toBe('invalid');
    expect(check(signByHand(signer, { ...put, headers: { 'content-length': '3' } }))).toBe('invalid');
    expect(check(signByHand(signer, { ...put, headers: { 'content-length': '15, 15' } }))).toBe('invalid');
  });

  it('refuses bytes that no digest covers, on any method', () => {
    const get = signByHand(signer, { method: 'DELETE' });
    expect(check({ ...get, body: Buffer.from('{}') })).toBe('invalid');
    expect(check({ ...get, body: Buffer.alloc(0) })).toBe('valid');
  });

  it('refuses the signature of another key, cut, or empty', () => {
    expect(check(signByHand({ ...signer, privateKey: makeSigner().privateKey }))).toBe('invalid');
    expect(check(signByHand(signer, { parameters: { signature: 'AAAA' } }))).toBe('invalid');
    expect(check(signByHand(signer, { parameters: { signature: '' } }))).toBe('refused');
    expect(check(signByHand(signer, { parameters: { signature: 'not base64!' } }))).toBe('refused');
    expect(check(signByHand(signer, { parameters: { signature: 'A'.repeat(1372) } }))).toBe('refused');
  });
});

describe('what has to be signed', () => {
  it.each(STYLES.python.body)('refuses a request with a body that does not sign %s', (left) => {
    const list = STYLES.python.body.filter((name) => name !== left);
    expect(check(signByHand(signer, { ...put, list }))).toBe('refused');
  });

  it.each(STYLES.python.bodyless)('refuses a request without a body that does not sign %s', (left) => {
    const list = STYLES.python.bodyless.filter((name) => name !== left);
    expect(check(signByHand(signer, { list }))).toBe('refused');
  });

  it('refuses a signed header that is missing, empty, listed twice or there twice', () => {
    const request = signByHand(signer);
    expect(check(withHeaders(request, { host: null }))).toBe('refused');
    expect(check(withHeaders(request, { host: '' }))).toBe('refused');
    expect(check({ ...request, rawHeaders: [...request.rawHeaders, 'HOST', '127.0.0.1:8080'] })).toBe('refused');
    expect(check(signByHand(signer, { list: ['date', '(request-target)', 'host', 'host'] }))).toBe('refused');
    expect(check(signByHand(signer, { list: ['date', '(request-target)', 'host', '(request-target)'] }))).toBe(
      'refused',
    );
    expect(check(signByHand(signer, { list: ['date', '(request-target)', 'host', '__proto__'] }))).toBe('refused');
  });

  it('refuses two Authorization headers', () => {
    const request = signByHand(signer);
    const authorization = singleHeader(request.rawHeaders, 'authorization') ?? '';
    expect(check({ ...request, rawHeaders: [...request.rawHeaders, 'Authorization', authorization] })).toBe('refused');
  });
});

describe('the date', () => {
  const now = Date.parse('2026-11-22T10:00:00Z');

  it.each([
    [-300, 'valid'],
    [300, 'valid'],
    [-301, 'skewed'],
    [301, 'skewed'],
  ])('with %i seconds between it and the clock is %s', (seconds, verdict) => {
    const request = signByHand(signer, { date: new Date(now + seconds * 1000) });
    expect(check(request, now)).toBe(verdict);
  });

  it('is good for a replay until five minutes have passed, and not after', () => {
    const request = signByHand(signer, { ...put, date: new Date(now) });
    expect(check(request, now)).toBe('valid');
    expect(check(request, now + 299_000)).toBe('valid');
    expect(check(request, now + 301_000)).toBe('skewed');
  });

  it('is the signed one: an unsigned one cannot refresh an old request', () => {
    const old = new Date(now - 3_600_000).toUTCString();
    const fresh = new Date(now).toUTCString();
    expect(check(signByHand(signer, { style: 'typescript', headers: { 'x-date': old, date: fresh } }), now)).toBe(
      'skewed',
    );
    expect(check(signByHand(signer, { style: 'python', headers: { 'x-date': fresh, date: old } }), now)).toBe('skewed');
    expect(check(signByHand(signer, { style: 'typescript', headers: { 'x-date': fresh, date: old } }), now)).toBe(
      'valid',
    );
  });

  it('is not told of as skewed where anything else is wrong too', () => {
    const request = signByHand(signer, { ...put, date: new Date(now - 3_600_000) });
    expect(check(request, now)).toBe('skewed');
    expect(check({ ...request, body: Buffer.from('x') }, now)).toBe('invalid');
    expect(check({ ...request, target: '/' }, now)).toBe('invalid');
  });

  it.each(['2026-11-22T10:00:00Z', '22 Nov 2026', 'tomorrow', 'Sun, 22 Nov 2026 10:00:00', '1795341600000'])(
    'is refused in another form: %s',
    (date) => {
      expect(check(signByHand(signer, { headers: { date } }), now)).toBe('invalid');
    },
  );
});

describe('the legacy form of a target', () => {
  it.each([
    ['/q?channelFilter=%C3%A9', `/q?channelFilter=${Buffer.from('é').toString('latin1')}`],
    ['/q?f={}|^`\\', '/q?f=%7B%7D%7C%5E%60%5C'],
    ['/q?f=%20%22%27%41', '/q?f=%20%22%27%41'],
    ['/q?f=%C3%A9%20%C3&g=%ff', `/q?f=${Buffer.from('é').toString('latin1')}%20%C3&g=%ff`],
    ["/it's?f=it's", '/it%27s?f=it%27s'],
    ['/%C3%A9/{}?f=1', '/%C3%A9/{}?f=1'],
    ['/q', '/q'],
    ['', ''],
    ['/q?f=\u00c3\u00a9{', '/q?f=\u00c3\u00a9{'],
  ])('of %j is %j', (target, legacy) => {
    expect(legacyTarget(target)).toBe(legacy);
  });
});
