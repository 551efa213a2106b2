import { Inject, Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { SERVER_CERTIFICATE, type ServerCertificate } from '../tls/server-certificate.js';

/** Probes come often and from several sides; one answer of the database serves all for so long. */
const FRESH_FOR_MS = 1000;

/** Whether this pod should be sent requests. */
@Injectable()
export class Readiness {
  private isStarted = false;
  private isStopping = false;
  private askedAt = -Infinity;
  private answer: Promise<string | null> = Promise.resolve(null);

  constructor(
    private readonly database: Database,
    @Inject(SERVER_CERTIFICATE) private readonly certificate: ServerCertificate | null,
  ) {}

  /** Null: it is ready. */
  async whyNot(): Promise<string | null> {
    if (this.isStopping) return 'stopping';
    if (!this.isStarted) return 'starting';
    if (performance.now() - this.askedAt > FRESH_FOR_MS) {
      this.askedAt = performance.now();
      this.answer = this.database.ping().then(
        () => null,
        () => 'the database cannot be reached',
      );
    }
    return this.answer;
  }

  /** What an operator should look at although the pod is ready; null: nothing. Open to everybody, so it names no files. */
  get warning(): string | null {
    return (this.certificate?.problem ?? null) === null
      ? null
      : 'the certificate files have changed and cannot be used: the certificate from before is still in use, the log says why';
  }

  /** Everything that comes before the first request is done. */
  start(): void {
    this.isStarted = true;
  }

  /** From now on the pod is not ready any more. */
  stop(): void {
    this.isStopping = true;
  }
}
