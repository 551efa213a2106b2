import { z } from 'zod';
import { instant, text } from '../rest/fields.js';
import { time, userId } from './identity.schemas.js';

/** The request and response bodies of what users sign in with. */

// A real one, whose private half nobody has: a description's examples must be such as are taken.
const EXAMPLE_PUBLIC_KEY = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnT8UB4XBJZs/KT5DN87m
jk+3eJnXxyt0Dkip66ljdlVMqYGbrcyxaEjpH/8ieAczLoIDZaZitdEbr0R81ZrC
VLwLo6a3zfmh91IiT62wvey0NNTeauNIVCgLIJXD4Irf3PaO+XsEEYjwYWmmKvpJ
e6HGdYWydXmQTbNTacekSZtX0AV6mnwaPGgh594eVhMrq1MVv5cqx5Qr0uaqjqlI
ku7koOsqPAnMN/LJUGPqRXm35CcKLFOPT7y5yettj3Uk2DnuPUnQsRv4F/IpYdxe
ndl3wlVl1OhEsSgE88NoTIqyuipeDp5KmqxHfNsVdNHnl22+YdsKurnzQXooxoAz
JQIDAQAB
-----END PUBLIC KEY-----
`;

const details = {
  description: text(1, 255, {
    description: 'What it is for, for people.',
    example: 'the consumer on host 7',
  }).optional(),
  expiresAt: instant({
    description: 'From then on it is refused; absent: never.',
    example: '2036-11-22T10:26:16.123Z',
  }).optional(),
};
const example = { description: 'the consumer on host 7', expiresAt: '2036-11-22T10:26:16.123Z' };

export const createSigningKeyDetails = z
  .object({
    publicKey: text(1, 4096, {
      description:
        'The public half of an RSA key of 2,048 to 8,192 bits, PEM ("BEGIN PUBLIC KEY", or PKCS #1). Never send the private half.',
      example: EXAMPLE_PUBLIC_KEY,
    }),
    ...details,
  })
  .meta({ id: 'CreateSigningKeyDetails', example: { publicKey: EXAMPLE_PUBLIC_KEY, ...example } });

export const createApiKeyDetails = z.object(details).meta({ id: 'CreateApiKeyDetails', example });
export const createAuthTokenDetails = z.object(details).meta({ id: 'CreateAuthTokenDetails', example });

const common = {
  userId,
  description: z.string().optional().meta({ description: 'What it is for.', example: 'the consumer on host 7' }),
  timeCreated: time('When it was created.'),
  expiresAt: time('From then on it is refused; absent: never.').optional(),
  lastUsedAt: time('When it was last used, up to five minutes too old; absent: never, as far as is known.').optional(),
};
const id = (type: string): z.ZodString =>
  z.string().meta({ description: 'Its OCID.', example: `ocid1.${type}.oc1.local.amaaaaaaexample` });

export const signingKey = z
  .object({
    ...common,
    fingerprint: z.string().meta({
      description: 'The MD5 of the DER of the public key, as OCI has it.',
      example: '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff',
    }),
    keyId: z.string().meta({ description: 'The keyId of signatures: tenancy/user/fingerprint.' }),
  })
  .meta({ id: 'SigningKey' });
export type SigningKeyBody = z.infer<typeof signingKey>;
export const signingKeyCollection = z.object({ items: z.array(signingKey) }).meta({ id: 'SigningKeyCollection' });

const apiKeyFields = {
  ...common,
  id: id('queueapikey'),
  prefix: z.string().meta({ description: 'How the key begins, to tell it from others.', example: 'towpath_1f0c9a7e' }),
};
export const apiKey = z.object(apiKeyFields).meta({ id: 'ApiKey' });
export type ApiKeyBody = z.infer<typeof apiKey>;
export const apiKeyCollection = z.object({ items: z.array(apiKey) }).meta({ id: 'ApiKeyCollection' });
export const newApiKey = z
  .object({
    ...apiKeyFields,
    key: z.string().meta({ description: 'The key itself, for Authorization: Bearer. It is shown this once.' }),
  })
  .meta({ id: 'NewApiKey' });
export type NewApiKeyBody = z.infer<typeof newApiKey>;

const authTokenFields = { ...common, id: id('authtoken') };
export const authToken = z.object(authTokenFields).meta({ id: 'AuthToken' });
export type AuthTokenBody = z.infer<typeof authToken>;
export const authTokenCollection = z.object({ items: z.array(authToken) }).meta({ id: 'AuthTokenCollection' });
export const newAuthToken = z
  .object({
    ...authTokenFields,
    token: z.string().meta({ description: 'The token itself, a passcode on STOMP. It is shown this once.' }),
    stompLogin: z.string().meta({ description: 'The login that it goes with.', example: 'towpath/ana@example.com' }),
    stompPasscode: z.string().meta({ description: 'The base64 of the token, a passcode as well, as OCI has it.' }),
  })
  .meta({ id: 'NewAuthToken' });
export type NewAuthTokenBody = z.infer<typeof newAuthToken>;
