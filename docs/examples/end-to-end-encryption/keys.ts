import { exportJWK, generateKeyPair, importJWK, type CryptoKey, type JWK } from 'jose';
import type { SealingKey } from './envelope.ts';

const ALGORITHM = 'ECDH-ES+A256KW';

/** A new key pair as JWK: `publicJwk` for producers, `privateJwk` for wherever the consumer keeps its secrets. */
export async function makeKeyPair(keyId: string): Promise<{ readonly publicJwk: JWK; readonly privateJwk: JWK }> {
  const { publicKey, privateKey } = await generateKeyPair(ALGORITHM, { crv: 'X25519', extractable: true });
  return {
    publicJwk: { ...(await exportJWK(publicKey)), kid: keyId },
    privateJwk: { ...(await exportJWK(privateKey)), kid: keyId },
  };
}

/** What a producer needs. */
export async function sealingKey(publicJwk: JWK): Promise<SealingKey> {
  if (publicJwk.kid === undefined) throw new Error('the key has no kid');
  if (publicJwk.d !== undefined) throw new Error('this is the private key, which is for the consumer only');
  return { keyId: publicJwk.kid, publicKey: await importKey(publicJwk) };
}

/** What a consumer needs: the keys that messages may be sealed for. */
export async function openingKeys(privateJwks: readonly JWK[]): Promise<Map<string, CryptoKey>> {
  return new Map(
    await Promise.all(
      privateJwks.map(async (jwk): Promise<[string, CryptoKey]> => {
        if (jwk.kid === undefined) throw new Error('a key has no kid');
        return [jwk.kid, await importKey(jwk)];
      }),
    ),
  );
}

async function importKey(jwk: JWK): Promise<CryptoKey> {
  const key = await importJWK(jwk, ALGORITHM);
  if (key instanceof Uint8Array) throw new Error('the key is not of a key pair');
  return key;
}
