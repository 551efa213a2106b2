import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, speaksTls, type Configuration } from './environment.js';

/**
 * Under which URL clients reach this service: `messagesEndpoint` of every queue. Known for certain only once the
 * server listens, since port 0 means any free one.
 */
@Injectable()
export class PublicEndpoint {
  private listening: string | null = null;

  constructor(@Inject(CONFIGURATION) private readonly configuration: Configuration) {}

  get url(): string {
    return this.configuration.publicUrl ?? this.listening ?? urlOf(this.configuration, this.configuration.port);
  }

  listensOn(port: number): void {
    this.listening = urlOf(this.configuration, port);
  }
}

function urlOf(configuration: Configuration, port: number): string {
  const { host } = configuration;
  // Nobody can connect to "any address", but whoever reads this is on the same machine then.
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  const scheme = speaksTls(configuration) ? 'https' : 'http';
  return `${scheme}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
