import { Agent, request } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';
import type { TLSSocket } from 'node:tls';

export interface TlsAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** SHA-256 of the certificate that the server showed on this connection. */
  readonly fingerprint: string;
  readonly protocol: string | null;
}

export type TlsClientOptions = ConstructorParameters<typeof Agent>[0];

/** Node's HTTPS client, which trusts the given authorities and nobody else. One connection at a time, kept alive. */
export class TlsClient {
  private readonly agent: Agent;

  constructor(
    readonly url: string,
    options: TlsClientOptions,
  ) {
    // Without sessions: each connection makes a whole handshake.
    this.agent = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0, ...options });
  }

  get(target: string, headers: Readonly<Record<string, string>> = {}): Promise<TlsAnswer> {
    return this.call('GET', target, headers);
  }

  call(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>> = {},
    body?: string,
  ): Promise<TlsAnswer> {
    return new Promise((resolve, reject) => {
      const sent = request(new URL(target, this.url), { method, headers, agent: this.agent }, (response) => {
        const socket = response.socket as TLSSocket;
        const { fingerprint256: fingerprint } = socket.getPeerCertificate();
        const protocol = socket.getProtocol();
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, fingerprint, protocol }),
        );
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}
