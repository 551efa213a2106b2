import { createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey, type RemoteJWKSet } from 'jose';
import { isTrustworthyUrl } from '../config/environment.js';

/** The issuer does not answer, or not with what an issuer answers, and what is known of its keys does not do. */
export class IssuerUnavailable extends Error {
  override readonly name = 'IssuerUnavailable';
}

interface Times {
  readonly timeoutMs: number;
  /** Keys older than this are asked for again, beside the requests that use them. */
  readonly refreshMs: number;
  /** Keys older than this are not used, whatever the issuer's trouble: one of them may have been withdrawn. */
  readonly keepMs: number;
  /** How often a token with a key that is not known may make this pod ask. */
  readonly cooldownMs: number;
  /** How long the issuer is left alone after it has failed. */
  readonly pauseMs: number;
}

const TIMES: Times = {
  timeoutMs: 3000,
  refreshMs: 300_000,
  keepMs: 86_400_000,
  cooldownMs: 30_000,
  pauseMs: 5000,
};
const MAX_BYTES = 1024 * 1024;

/**
 * The public keys of an OIDC issuer, found by its discovery document and kept. However many tokens come, and whatever is
 * in them, the issuer is asked at most once per cooldown, and once per pause while it fails.
 */
export class IssuerKeys {
  private keys: RemoteJWKSet | null = null;
  private discovery: Promise<RemoteJWKSet> | null = null;
  private failedAt = -Infinity;
  private loadedAt = -Infinity;
  private readonly times: Times;

  constructor(
    private readonly issuer: string,
    private readonly onFailure: (error: unknown) => void,
    times: Partial<Times> = {},
  ) {
    this.times = { ...TIMES, ...times };
  }

  /** The key that a token names. Throws IssuerUnavailable, or jose's error where the issuer has no such key. */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    const keys = this.keys ?? (await this.discover());
    const age = performance.now() - this.loadedAt;
    if (keys.jwks() !== undefined) {
      if (age >= this.times.keepMs) await this.reload(keys);
      else if (age >= this.times.refreshMs && !keys.reloading && !this.isPaused()) {
        // Whoever has to wait for them is told if they do not come.
        this.reload(keys).catch(() => undefined);
      }
    }
    try {
      return await keys(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      throw unavailable(error);
    }
  };

  private isPaused(): boolean {
    return performance.now() - this.failedAt < this.times.pauseMs;
  }

  private async reload(keys: RemoteJWKSet): Promise<void> {
    try {
      await keys.reload();
    } catch (error) {
      throw unavailable(error);
    }
  }

  /** Those who come together ask once. */
  private discover(): Promise<RemoteJWKSet> {
    this.discovery ??= this.readDiscovery().finally(() => {
      this.discovery = null;
    });
    return this.discovery;
  }

  private async readDiscovery(): Promise<RemoteJWKSet> {
    const url = `${this.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    let document: { readonly issuer?: unknown; readonly jwks_uri?: unknown } | null;
    try {
      const signal = AbortSignal.timeout(this.times.timeoutMs);
      const response = await this.fetch(url, { redirect: 'manual', signal });
      if (response.status !== 200) throw new IssuerUnavailable(`${url} answered ${response.status}`);
      document = (await response.json()) as typeof document;
    } catch (error) {
      throw unavailable(error);
    }
    const jwksUri = document?.jwks_uri;
    if (document?.issuer !== this.issuer || typeof jwksUri !== 'string' || !isTrustworthyUrl(jwksUri)) {
      const error = new IssuerUnavailable(`${url} is not the discovery document of ${this.issuer}`);
      this.failed(error);
      throw error;
    }
    const { timeoutMs, cooldownMs } = this.times;
    this.keys = createRemoteJWKSet(new URL(jwksUri), {
      timeoutDuration: timeoutMs,
      cooldownDuration: cooldownMs,
      // When they are old is decided above: jose would refuse tokens while the issuer is away.
      cacheMaxAge: Infinity,
      [customFetch]: async (target, options) => {
        const response = await this.fetch(target, options);
        if (response.status === 200) this.loadedAt = performance.now();
        return response;
      },
    });
    return this.keys;
  }

  /** As fetch, of a bounded answer, and not while the issuer is left alone. */
  private async fetch(url: string, options: RequestInit): Promise<Response> {
    if (this.isPaused()) throw new IssuerUnavailable('the issuer has failed a moment ago');
    try {
      const response = await fetch(url, options);
      const body = await readBounded(response);
      if (response.status >= 300) this.failed(new IssuerUnavailable(`${url} answered ${response.status}`));
      return new Response(body, { status: response.status, headers: response.headers });
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }

  private failed(error: unknown): void {
    this.failedAt = performance.now();
    this.onFailure(error);
  }
}

function unavailable(error: unknown): IssuerUnavailable {
  return error instanceof IssuerUnavailable ? error : new IssuerUnavailable('the issuer failed', { cause: error });
}

async function readBounded(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += (chunk as Uint8Array).length;
    if (length > MAX_BYTES) throw new IssuerUnavailable('the issuer answered more than 1 MiB');
    chunks.push(chunk as Uint8Array);
  }
  return new Uint8Array(Buffer.concat(chunks));
}
