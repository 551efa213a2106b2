import type { Server, TLSSocket, TlsOptions } from 'node:tls';
import {
  checkTexts,
  readTexts,
  type CertificatePaths,
  type CertificateSet,
  type CertificateTexts,
} from './certificate-files.js';
import { TlsError } from './tls-error.js';

/**
 * Files are looked at rather than watched: Kubernetes swaps a link to their folder, which watchers of files do not see.
 * A change counts once two looks in a row have found the same: certificate and key are two files, and between the two
 * writes they do not fit.
 */
const LOOK_EVERY_MS = 2000;
/** A client that has not finished its handshake by then is gone, or never meant to. */
const HANDSHAKE_MS = 10_000;
const WARN_BEFORE_MS = 14 * 86_400_000;

/** The injection token of the pod's certificate, null where it speaks no TLS. */
export const SERVER_CERTIFICATE = Symbol('server certificate');

/** Where notes for the operator go; pino fits. */
export interface TlsLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/**
 * The certificate of this pod, for any number of TLS servers: each is made with `options` and then given to `serve`. When
 * the files change, new connections get the new certificate; those that are open go on as they are. Files that
 * cannot be used change nothing, but are logged and told by `problem`.
 */
export class ServerCertificate {
  private readonly servers = new Set<Server>();
  private timer: NodeJS.Timeout | undefined;
  /** What the last look has found, if that is not in use. */
  private seen: string | null = null;
  private refused: string | null = null;
  private isLooking = false;
  /** Why the files, as they are now, are not in use; null where they are. Names files: for the log. */
  problem: string | null = null;
  /** How often new files were taken, and how often they could not be. */
  reloads = 0;
  failures = 0;
  /** Handshakes that failed: no TLS, an old version, a certificate that was missing or not trusted. */
  failedHandshakes = 0;

  private constructor(
    private readonly paths: CertificatePaths,
    private readonly clients: 'required' | 'optional',
    private current: CertificateSet,
    private readonly log: TlsLog,
    private readonly now: () => number,
  ) {
    this.warnOfExpiry();
  }

  /** Reads the files. Throws a TlsError where they cannot be used: at the start nothing else is there to go on with. */
  static async load(
    paths: CertificatePaths,
    clients: 'required' | 'optional',
    log: TlsLog,
    now: () => number = Date.now,
  ): Promise<ServerCertificate> {
    const set = checkTexts(await readTexts(paths), paths);
    return new ServerCertificate(paths, clients, set, log, now);
  }

  /** For `tls.createServer` and `https.createServer`. */
  get options(): TlsOptions {
    return {
      ...this.context,
      handshakeTimeout: HANDSHAKE_MS,
      ...(this.paths.clientCa === null ? {} : { requestCert: true, rejectUnauthorized: this.clients === 'required' }),
    };
  }

  get expiresAt(): Date {
    return this.current.expiresAt;
  }

  get fingerprint(): string {
    return this.current.fingerprint;
  }

  /** Keeps the certificate of a server up to date until the server closes. */
  serve(server: Server): void {
    this.servers.add(server);
    server.once('close', () => this.servers.delete(server));
    server.on('tlsClientError', () => {
      this.failedHandshakes += 1;
    });
    // It may have changed between `options` and now.
    server.setSecureContext(this.context);
  }

  /** Looks after the files from now on. */
  start(everyMs = LOOK_EVERY_MS): void {
    this.timer = setInterval(() => void this.look(), everyMs);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** One look at the files. Never throws. */
  async look(): Promise<void> {
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      const texts = await readTexts(this.paths).catch((error: Error) => error.message);
      const digest = typeof texts === 'string' ? texts : texts.digest;
      if (digest === this.current.digest) {
        if (this.problem !== null) this.log.info({}, 'the certificate files are again those that are in use');
        this.settle(null);
      } else if (digest !== this.seen) {
        this.seen = digest;
      } else if (digest !== this.refused) {
        this.take(texts, digest);
      }
    } finally {
      this.isLooking = false;
    }
  }

  private take(texts: CertificateTexts | string, digest: string): void {
    try {
      if (typeof texts === 'string') throw new TlsError(texts);
      const set = checkTexts(texts, this.paths);
      if (set.expiresAt.getTime() <= this.now() && this.current.expiresAt.getTime() > this.now()) {
        throw new TlsError(`${this.paths.certificate} expired at ${set.expiresAt.toISOString()}`);
      }
      this.current = set;
      for (const server of this.servers) server.setSecureContext(this.context);
    } catch (error) {
      this.failures += 1;
      this.settle(error instanceof TlsError ? error.message : 'they cannot be used');
      this.refused = digest;
      this.log.error(
        { err: error },
        'the new certificate files cannot be used: the certificate from before stays in use',
      );
      return;
    }
    this.reloads += 1;
    this.settle(null);
    const { fingerprint, expiresAt } = this.current;
    this.log.info({ fingerprint, expiresAt }, 'the certificate was replaced; new connections get the new one');
    this.warnOfExpiry();
  }

  private settle(problem: string | null): void {
    this.problem = problem;
    this.seen = null;
    this.refused = null;
  }

  private get context(): TlsOptions {
    const { cert, key, ca } = this.current;
    return { cert, key, minVersion: 'TLSv1.2', ...(ca === null ? {} : { ca }) };
  }

  private warnOfExpiry(): void {
    const left = this.expiresAt.getTime() - this.now();
    if (left > WARN_BEFORE_MS) return;
    const { expiresAt } = this;
    this.log.warn(
      { expiresAt },
      left <= 0 ? 'the certificate has expired' : 'the certificate expires within two weeks',
    );
  }
}

/**
 * Whether a client sent a certificate that none of the allowed authorities issued. Where certificates are optional,
 * Node lets such clients in.
 */
export function hasWrongCertificate(socket: Pick<TLSSocket, 'authorized' | 'getPeerX509Certificate'>): boolean {
  return !socket.authorized && socket.getPeerX509Certificate() !== undefined;
}
