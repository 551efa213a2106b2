import { jest } from '@jest/globals';
import * as fc from 'fast-check';
import { sql } from 'kysely';
import { Database } from '../../src/database/database.js';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { toServiceError } from '../../src/errors/catalogue.js';
import { makeApiKey } from '../../src/identity/api-key.js';
import { AuthenticationService } from '../../src/identity/authentication.service.js';
import type { Caller } from '../../src/identity/caller.js';
import { stopTheClock } from '../support/clock.js';
import { createTestDatabase } from '../support/database.js';
import { bearer, makeUser } from './user.js';
import { makeSigner, signByHand, withHeaders } from './wire.js';

let test: Awaited<ReturnType<typeof createTestDatabase>>;
let functions: IdentityFunctions;
beforeAll(async () => {
  test = await createTestDatabase();
  functions = new IdentityFunctions(test.database);
});
afterAll(async () => {
  await test.drop();
});

describe('the authentication service', () => {
  it('knows who signed, who sent a key and who logged in', async () => {
    const { signer, apiKey, login, passcode, owner, apiKeyId, authTokenId } = await makeUser(functions);
    const service = new AuthenticationService(functions);
    expect(await service.authenticate(signByHand(signer))).toEqual({
      ...owner,
      credential: 'signature',
      credentialId: signer.fingerprint,
    });
    expect(await service.authenticate(bearer(apiKey))).toEqual({
      ...owner,
      credential: 'api-key',
      credentialId: apiKeyId,
    });
    expect(await service.authenticateLogin(login, passcode)).toEqual({
      ...owner,
      credential: 'auth-token',
      credentialId: authTokenId,
    });
    const token = Buffer.from(passcode, 'base64').toString();
    expect(await service.authenticateLogin(login, token)).toEqual({
      ...owner,
      credential: 'auth-token',
      credentialId: authTokenId,
    });
  });

  it('says the same whatever is wrong', async () => {
    const { signer, apiKey } = await makeUser(functions);
    const other = await makeUser(functions);
    const service = new AuthenticationService(functions);
    const right = signByHand(signer);
    const answers = await Promise.allSettled(
      [
        withHeaders(right, { authorization: null }),
        withHeaders(right, { authorization: 'Basic YTpi' }),
        withHeaders(right, { host: 'elsewhere' }),
        withHeaders(right, { host: null }),
        { ...right, body: Buffer.from('x') },
        signByHand({ ...signer, fingerprint: other.signer.fingerprint }),
        signByHand({ ...signer, tenancyId: other.signer.tenancyId }),
        signByHand({ ...signer, userId: other.signer.userId }),
        signByHand({ ...signer, privateKey: other.signer.privateKey }),
        bearer(makeApiKey().key),
        bearer(`${apiKey.slice(0, -1)}${apiKey.endsWith('0') ? '1' : '0'}`),
        bearer('eyJhbGciOiJSUzI1NiJ9.e30.c2ln'),
        bearer(''),
      ].map((request) => service.authenticate(request)),
    );
    const reasons = answers.map((answer) => (answer.status === 'rejected' ? String(answer.reason) : 'accepted'));
    expect(new Set(reasons).size).toBe(1);
    expect(reasons[0]).toMatch(/OCI request signature.*API key/);
  });

  it('names a date that is off, of a signature that is valid otherwise', async () => {
    const { signer } = await makeUser(functions);
    const service = new AuthenticationService(functions);
    const date = new Date(Date.now() - 301_000);
    await expect(service.authenticate(signByHand(signer, { date }))).rejects.toMatchObject({
      code: 'NotAuthenticated',
      message: expect.stringMatching(/5 minutes/) as unknown,
    });
    const wrong = signByHand({ ...signer, privateKey: makeSigner().privateKey }, { date });
    await expect(service.authenticate(wrong)).rejects.toThrow(/no credentials that are valid/);
  });

  it('refuses STOMP logins that are wrong in any part, with the same words', async () => {
    const { login, passcode } = await makeUser(functions);
    const other = await makeUser(functions);
    const service = new AuthenticationService(functions);
    const answers = await Promise.allSettled(
      [
        [login, other.passcode],
        [other.login, passcode],
        [login, ''],
        ['', passcode],
        ['ana', passcode],
        [`${login}\0`, passcode],
        [login, `${Buffer.from(passcode, 'base64').toString()}x`],
        [login, Buffer.from(passcode).toString('base64')],
        [`${login}${'x'.repeat(400)}`, passcode],
      ].map(([name = '', code = '']) => service.authenticateLogin(name, code)),
    );
    const reasons = answers.map((answer) => (answer.status === 'rejected' ? String(answer.reason) : 'accepted'));
    expect(new Set(reasons).size).toBe(1);
    expect(reasons[0]).toMatch(/<tenancy name>/);
  });

  it('stops accepting a removed key of any kind after two seconds', async () => {
    const { signer, apiKey, login, passcode, owner } = await makeUser(functions);
    const service = new AuthenticationService(functions);
    const attempts: (() => Promise<Caller>)[] = [
      () => service.authenticate(signByHand(signer)),
      () => service.authenticate(bearer(apiKey)),
      () => service.authenticateLogin(login, passcode),
    ];
    const pass = stopTheClock();
    try {
      await Promise.all(attempts.map((attempt) => attempt()));
      await sql`delete from towpath.user_account where id = ${owner.userId}`.execute(test.database.kysely);
      pass(1_999);
      for (const attempt of attempts) expect(await attempt()).toMatchObject(owner);
      pass(1);
      for (const attempt of attempts) await expect(attempt()).rejects.toMatchObject({ code: 'NotAuthenticated' });
    } finally {
      jest.restoreAllMocks();
    }
  });

  it('throws nothing but NotAuthenticated on garbage', async () => {
    const { signer } = await makeUser(functions);
    const service = new AuthenticationService(functions);
    const right = signByHand(signer);
    const text = fc.string({ unit: 'binary' });
    const values = fc.oneof(
      text,
      text.map((rest) => `Signature ${rest}`),
      text.map((rest) => `Bearer towpath_${rest}`),
    );
    await fc.assert(
      fc.asyncProperty(
        values,
        text,
        fc.constantFrom('GET', 'HEAD', 'POST', 'X'),
        async (authorization, target, method) => {
          const request = { ...withHeaders(right, { authorization }), target, method };
          await expect(service.authenticate(request)).rejects.toMatchObject({ code: 'NotAuthenticated' });
        },
      ),
      { numRuns: 500 },
    );
    const ids = fc.string({ minLength: 1 });
    await fc.assert(
      fc.asyncProperty(ids, ids, ids, async (tenancyId, userId, fingerprint) => {
        const request = signByHand({ ...signer, tenancyId, userId, fingerprint });
        await expect(service.authenticate(request)).rejects.toMatchObject({ code: 'NotAuthenticated' });
      }),
      { numRuns: 200 },
    );
    await fc.assert(
      fc.asyncProperty(text, text, async (login, passcode) => {
        const attempt = service.authenticateLogin(`a/${login}`, Buffer.from(passcode).toString('base64'));
        await expect(attempt).rejects.toMatchObject({ code: 'NotAuthenticated' });
      }),
      { numRuns: 200 },
    );
  });

  it('says that the service is unavailable where there is no database', async () => {
    const { apiKey } = await makeUser(functions);
    const away = new Database('postgres://127.0.0.1:1/none', 2, 200, () => undefined);
    const service = new AuthenticationService(new IdentityFunctions(away));
    const error = await service.authenticate(bearer(apiKey)).catch(toServiceError);
    expect(error).toMatchObject({ code: 'ServiceUnavailable' });
    await away.close();
  });
});
