import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose';
import { Provider, type Configuration } from 'oidc-provider';

export const AUDIENCE = 'https://queues.example.com';
const SECRET = 'the-secret-of-the-client';

export interface IssuerKey {
  readonly kid: string;
  readonly publicKey: CryptoKey;
  readonly privateKey: CryptoKey;
}

/** A real issuer on a port of this machine, whose keys the test has, so that it can forge. */
export class Issuer {
  /** The requests that came, by path. */
  readonly asked: string[] = [];
  /** When true, it answers nothing: connections are cut. */
  isDown = false;
  key!: IssuerKey;
  private handle: RequestListener = () => undefined;
  private server: Server | null = null;
  private rotations = 0;
  /** The claims besides those of the protocol that access tokens have. */
  claims: Record<string, unknown> = {};

  static async start(): Promise<Issuer> {
    const issuer = new Issuer();
    const server = createServer((request, response) => {
      issuer.asked.push((request.url ?? '').split('?')[0]!);
      if (issuer.isDown) request.socket.destroy();
      else issuer.handle(request, response);
    });
    issuer.server = server;
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    await issuer.rotate();
    return issuer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server!.address() as AddressInfo).port}`;
  }

  /** Signs with a new key from now on, and does not know the one before any more. */
  async rotate(): Promise<void> {
    this.rotations += 1;
    const pair = await generateKeyPair('RS256', { extractable: true });
    this.key = { kid: `key-${this.rotations}`, ...pair };
    const jwk = { ...(await exportJWK(pair.privateKey)), kid: this.key.kid, alg: 'RS256', use: 'sig' };
    const configuration: Configuration = {
      jwks: { keys: [jwk] },
      clients: ['worker', 'nobody'].map((client_id) => ({
        client_id,
        client_secret: SECRET,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      })),
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_, resource) => ({
            audience: resource,
            scope: '',
            accessTokenFormat: 'jwt',
            accessTokenTTL: 300,
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      },
      extraTokenClaims: () => this.claims,
      ttl: { ClientCredentials: 300 },
    };
    // It tells on the console that it keeps everything in memory.
    const { warn } = console;
    console.warn = (): void => undefined;
    try {
      this.handle = new Provider(this.url, configuration).callback();
    } finally {
      console.warn = warn;
    }
  }

  /** A token as the issuer gives it to a client, for this audience. */
  async token(client: string, audience = AUDIENCE): Promise<string> {
    const response = await fetch(`${this.url}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${client}:${SECRET}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', resource: audience }),
    });
    const body = (await response.json()) as { access_token?: string };
    if (body.access_token === undefined) throw new Error(JSON.stringify(body));
    return body.access_token;
  }

  /** A token signed with the issuer's key (or another), as it would not give it. Absent claims are right; null: left out. */
  async forge(
    claims: Record<string, unknown> = {},
    header: Record<string, unknown> = {},
    key: CryptoKey | Uint8Array = this.key.privateKey,
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const all = { iss: this.url, aud: AUDIENCE, sub: 'worker', iat: now, exp: now + 300, ...claims };
    const payload = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'RS256', kid: this.key.kid, typ: 'at+jwt', ...header })
      .sign(key);
  }

  async stop(): Promise<void> {
    this.server!.closeAllConnections();
    await new Promise((resolve) => {
      this.server!.close(resolve);
    });
  }
}
