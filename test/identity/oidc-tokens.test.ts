import { exportSPKI, generateKeyPair, exportJWK } from 'jose';
import { ServiceError } from '../../src/errors/service-error.js';
import { IssuerKeys } from '../../src/identity/issuer-keys.js';
import { looksLikeJwt, OidcTokens } from '../../src/identity/oidc-tokens.js';
import { makeApiKey, makeAuthToken } from '../../src/identity/api-key.js';
import { until } from '../pods/support.js';
import { AUDIENCE, Issuer } from './issuer.js';

let issuer: Issuer;
beforeAll(async () => {
  issuer = await Issuer.start();
});
beforeEach(() => {
  issuer.isDown = false;
  issuer.asked.length = 0;
});
afterAll(async () => {
  await issuer.stop();
});

type Times = ConstructorParameters<typeof IssuerKeys>[2];

function setup(times: Times = {}, settings: object = {}): { tokens: OidcTokens; failures: unknown[] } {
  const failures: unknown[] = [];
  const configuration = {
    oidcIssuer: issuer.url,
    oidcAudience: AUDIENCE,
    oidcTenancy: 'acme',
    oidcUserClaim: 'sub',
    oidcGroupsClaim: null,
    ...settings,
  };
  const keys = new IssuerKeys(issuer.url, (error) => failures.push(error), times);
  return { tokens: new OidcTokens(configuration, keys), failures };
}

const answerOf = (verified: Promise<unknown>): Promise<unknown> =>
  verified.catch((error: unknown) => (error instanceof ServiceError ? error.code : error));
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const asked = (path: string): number => issuer.asked.filter((each) => each === path).length;

describe('a token of the issuer', () => {
  it('says who it is, and costs the issuer two requests, however many come', async () => {
    const { tokens } = setup();
    const token = await issuer.token('worker');
    const expected = { tenancyName: 'acme', userName: 'worker', groups: null, subject: `${issuer.url} worker` };
    issuer.asked.length = 0;
    const all = await Promise.all(Array.from({ length: 20 }, () => tokens.verify(token)));
    for (let round = 0; round < 20; round += 1) all.push(await tokens.verify(token));
    expect(all).toEqual(Array.from({ length: 40 }, () => expected));
    expect(issuer.asked.toSorted()).toEqual(['/.well-known/openid-configuration', '/jwks']);
  });

  it('names user and groups by the claims that the configuration says', async () => {
    const { tokens } = setup({}, { oidcUserClaim: 'email', oidcGroupsClaim: 'groups' });
    const verify = async (claims: Record<string, unknown>): Promise<unknown> =>
      tokens.verify(await issuer.forge({ email: 'ana@example.com', ...claims }));
    const named = { userName: 'ana@example.com' };
    expect(await verify({ groups: ['b', 'a', 'b'] })).toMatchObject({ ...named, groups: ['a', 'b'] });
    for (const groups of [null, 'a', {}, [5, null, '', 'x\0']]) {
      expect(await verify({ groups })).toMatchObject({ ...named, groups: [] });
    }
    for (const email of [null, 5, '', ['a'], 'a\0b', '\ud800', 'x'.repeat(256)]) {
      expect([email, await verify({ email })]).toEqual([email, null]);
    }
  });

  it('is not taken where anything of it is wrong', async () => {
    const { tokens } = setup();
    const now = Math.floor(Date.now() / 1000);
    const other = await generateKeyPair('RS256', { extractable: true });
    const pem = new TextEncoder().encode(await exportSPKI(issuer.key.publicKey));
    const good = await issuer.forge();
    const payload = good.split('.')[1]!;
    const wrong: Record<string, string> = {
      expired: await issuer.forge({ exp: now - 60 }),
      'not yet valid': await issuer.forge({ nbf: now + 60 }),
      'without an end': await issuer.forge({ exp: null }),
      'without a subject': await issuer.forge({ sub: null }),
      'for another service': await issuer.token('worker', 'https://others.example.com'),
      'for nobody': await issuer.forge({ aud: null }),
      'of another issuer': await issuer.forge({ iss: 'https://others.example.com' }),
      'of an issuer with a slash': await issuer.forge({ iss: `${issuer.url}/` }),
      'of a key that is not known': await issuer.forge({}, { kid: 'another' }, other.privateKey),
      'of another key by the name of the right one': await issuer.forge({}, {}, other.privateKey),
      'that brings its key': await issuer.forge(
        {},
        { kid: 'mine', jwk: await exportJWK(other.publicKey) },
        other.privateKey,
      ),
      'with the public key as a secret': await issuer.forge({}, { alg: 'HS256' }, pem),
      'without an algorithm': `${part({ alg: 'none', kid: issuer.key.kid })}.${payload}.`,
      'with another payload': [good.split('.')[0], part({ sub: 'admin' }), good.split('.')[2]].join('.'),
      'that understands something critical': await issuer.forge({}, { crit: ['exp'], exp: now }).catch(() => 'a.b.c'),
      'of three dots': 'a.b.c',
      empty: '..',
    };
    expect(await tokens.verify(good)).toMatchObject({ userName: 'worker' });
    for (const [what, token] of Object.entries(wrong)) {
      expect([what, await tokens.verify(token)]).toEqual([what, null]);
    }
    // A token whose end was a moment ago: clocks differ.
    expect(await tokens.verify(await issuer.forge({ exp: now - 5 }))).toMatchObject({ userName: 'worker' });
  });

  it('is told from an API key by its form', () => {
    expect(looksLikeJwt(makeApiKey().key)).toBe(false);
    expect(looksLikeJwt(makeAuthToken().token)).toBe(false);
    expect(looksLikeJwt('a.b.c')).toBe(true);
    expect(looksLikeJwt('a.b.')).toBe(true);
  });
});

describe('the keys of an issuer', () => {
  it('are asked for again when a token names one that is not known, once per cooldown', async () => {
    const { tokens } = setup({ cooldownMs: 0 });
    const old = await issuer.token('worker');
    expect(await tokens.verify(old)).toMatchObject({ userName: 'worker' });
    await issuer.rotate();
    expect(await tokens.verify(await issuer.token('worker'))).toMatchObject({ userName: 'worker' });
    expect(await tokens.verify(old)).toBeNull();
    expect(asked('/.well-known/openid-configuration')).toBe(1);
    // With a cooldown, tokens that name whatever they like cost nothing.
    const patient = setup({ cooldownMs: 60_000 });
    expect(await patient.tokens.verify(await issuer.token('worker'))).toMatchObject({ userName: 'worker' });
    issuer.asked.length = 0;
    for (let round = 0; round < 10; round += 1) {
      expect(await patient.tokens.verify(await issuer.forge({}, { kid: `made-up-${round}` }))).toBeNull();
    }
    expect(issuer.asked).toEqual([]);
  });

  it('are used while the issuer is away, and asked for again beside the requests when they are old', async () => {
    const { tokens, failures } = setup({ refreshMs: 0, pauseMs: 60_000, cooldownMs: 0 });
    const token = await issuer.forge();
    expect(await tokens.verify(token)).toMatchObject({ userName: 'worker' });
    await until(async () => {
      await tokens.verify(token);
      return asked('/jwks') >= 2;
    }, 'they are asked for again');
    issuer.isDown = true;
    await until(async () => {
      expect(await tokens.verify(token)).toMatchObject({ userName: 'worker' });
      return failures.length > 0;
    }, 'the issuer is found to be away');
    issuer.asked.length = 0;
    for (let round = 0; round < 10; round += 1) {
      expect(await tokens.verify(token)).toMatchObject({ userName: 'worker' });
      // One that is not known might be new: nobody can say.
      expect(await answerOf(tokens.verify(await issuer.forge({}, { kid: 'new' })))).toBe('ServiceUnavailable');
    }
    expect(issuer.asked).toEqual([]);
  });

  it('are not used for ever while the issuer is away', async () => {
    const { tokens } = setup({ keepMs: 0 });
    const token = await issuer.forge();
    expect(await tokens.verify(token)).toMatchObject({ userName: 'worker' });
    issuer.isDown = true;
    expect(await answerOf(tokens.verify(token))).toBe('ServiceUnavailable');
  });

  it('that were never there are unavailable, without a request per token; and come when the issuer does', async () => {
    const { tokens, failures } = setup({ pauseMs: 60_000 });
    const token = await issuer.forge();
    issuer.isDown = true;
    for (let round = 0; round < 10; round += 1) {
      expect(await answerOf(tokens.verify(token))).toBe('ServiceUnavailable');
    }
    expect(issuer.asked).toHaveLength(1);
    expect(failures).toHaveLength(1);
    const hasty = setup({ pauseMs: 0 });
    expect(await answerOf(hasty.tokens.verify(token))).toBe('ServiceUnavailable');
    issuer.isDown = false;
    expect(await hasty.tokens.verify(token)).toMatchObject({ userName: 'worker' });
  });

  it('are not taken from a document that is of another issuer', async () => {
    const other = new IssuerKeys(`${issuer.url}/`, () => undefined);
    await expect(other.find({ alg: 'RS256', kid: issuer.key.kid }, { payload: '', signature: '' })).rejects.toThrow(
      'not the discovery document',
    );
  });
});
