import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { IdentityFunctions } from '../database/identity-functions.js';
import type { Credential } from './caller.js';

/** A pod tells of a credential so often at most. SQL asks the same over all pods. */
const NOTE_EVERY_MS = 300_000;
const WRITE_AFTER_MS = 5000;
/** Of how many credentials a pod remembers that it told of them. Beyond that it tells again, and SQL writes nothing. */
const MAX_NOTED = 20_000;

/**
 * When credentials were last used, for people who wonder which ones they may delete. A request only notes it in memory;
 * what was noted is written together a few seconds later, for each credential once in five minutes at most.
 */
@Injectable()
export class CredentialUses implements OnApplicationShutdown {
  private readonly logger = new Logger(CredentialUses.name);
  /** By kind and id, when it may be told of again. */
  private readonly noted = new Map<string, number>();
  private pending = new Set<string>();
  private timer: NodeJS.Timeout | null = null;
  private underWay: Promise<void> = Promise.resolve();

  constructor(private readonly functions: IdentityFunctions) {}

  /** Costs a look into a map. A signing key's id is tenancy/user/fingerprint. */
  note(kind: Credential, id: string): void {
    const now = performance.now();
    const key = `${kind} ${id}`;
    if (now < (this.noted.get(key) ?? -Infinity)) return;
    if (this.noted.size >= MAX_NOTED) this.noted.clear();
    this.noted.set(key, now + NOTE_EVERY_MS);
    this.pending.add(key);
    this.timer ??= setTimeout(() => {
      this.underWay = this.write();
    }, WRITE_AFTER_MS).unref();
  }

  /** Writes what was noted until now. Never throws: what is lost is told again by the next use. */
  async write(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const used = this.pending;
    this.pending = new Set();
    if (used.size === 0) return;
    const of = (kind: Credential): string[] =>
      [...used].filter((key) => key.startsWith(`${kind} `)).map((key) => key.slice(kind.length + 1));
    try {
      await this.functions.recordUses(of('signature'), of('api-key'), of('auth-token'));
    } catch (error) {
      for (const key of used) this.noted.delete(key);
      this.logger.warn({ err: error }, 'when credentials were last used could not be written; later');
    }
  }

  async onApplicationShutdown(): Promise<void> {
    await this.underWay;
    await this.write();
  }
}
