import { randomBytes } from 'node:crypto';
import type { IdentityFunctions } from '../../src/database/identity-functions.js';
import { makeApiKey, makeAuthToken } from '../../src/identity/api-key.js';
import type { SignedRequest } from '../../src/identity/request-signature.js';
import { makeSigner, type Signer } from './wire.js';

/** A user as tests make them, with one credential of each kind. */
export interface User {
  readonly signer: Signer;
  readonly apiKey: string;
  readonly login: string;
  readonly passcode: string;
  readonly owner: { readonly tenancyId: string; readonly userId: string };
  readonly apiKeyId: string;
  readonly authTokenId: string;
}

/** An administrator of a tenancy of its own with one credential of each kind. */
export async function makeUser(functions: IdentityFunctions): Promise<User> {
  const tenancy = await functions.createTenancy(randomBytes(6).toString('hex'));
  const user = await functions.createUser(tenancy.id, 'ana');
  await functions.addAdministrator(tenancy.id, user.id);
  const owner = { tenancyId: tenancy.id, userId: user.id };
  const signer = { ...makeSigner(), ...owner };
  await functions.addSigningKey(signer, signer.publicKey.export({ type: 'spki', format: 'pem' }).toString());
  const apiKey = makeApiKey();
  const { id: apiKeyId } = await functions.addApiKey(tenancy.id, user.id, apiKey.prefix, apiKey.digest);
  const token = makeAuthToken();
  const { id: authTokenId } = await functions.addAuthToken(tenancy.id, user.id, token.digest);
  const login = `${tenancy.name}/ana`;
  return { signer, apiKey: apiKey.key, login, passcode: token.passcode, owner, apiKeyId, authTokenId };
}

/** A request with a bearer key, as the server sees it. */
export const bearer = (key: string): SignedRequest => ({
  method: 'GET',
  target: '/',
  rawHeaders: ['Host', 'x', 'Authorization', `Bearer ${key}`],
  body: undefined,
});
