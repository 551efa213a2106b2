import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from './environment.js';

/**
 * Under which URL clients reach this service: `messagesEndpoint` of every queue. Known for certain only once the
 * server listens, since port 0 means any free one.
 */
@Injectable()
export class PublicEndpoint {
  private listening: string | null = null;

  constructor(@Inject(CONFIGURATION) private readonly configuration: Configuration) {}

  get url(): string {
    return this.configuration.publicUrl ?? this.listening ?? urlOf(this.configuration.host, this.configuration.port);
  }

  listensOn(port: number): void {
    this.listening = urlOf(this.configuration.host, port);
  }
}

function urlOf(host: string, port: number): string {
  // Nobody can connect to "any address", but whoever reads this is on the same machine then.
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
