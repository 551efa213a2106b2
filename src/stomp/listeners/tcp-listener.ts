import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { ServiceError } from '../../errors/service-error.js';
import { LISTEN_BACKLOG } from '../../rest/connections.js';
import { hasWrongCertificate, type ServerCertificate } from '../../tls/server-certificate.js';
import type { Connection } from '../connections/connection.js';
import { TcpConnection } from '../connections/tcp-connection.js';
import { takeProxyHeader } from './proxied-sockets.js';

/** Takes a connection; with a refusal it is told why not. */
export type Accept = (connection: Connection, refusal: ServiceError | null) => void;

export interface TcpListenerOptions {
  /** Null: the port speaks no TLS. */
  readonly certificate: ServerCertificate | null;
  readonly maxConnections: number;
  /** How long the PROXY header, which every connection has to begin with, may take; null: there is none. */
  readonly proxyHeaderMs: number | null;
  readonly accept: Accept;
  /** A connection was refused because there are too many. */
  readonly dropped: () => void;
  /** One was cut because it did not begin with a PROXY header. */
  readonly unproxied: () => void;
}

/** Connections beyond the limit that are accepted all the same, for as long as it takes to tell them. */
const REFUSALS = 256;

/**
 * The STOMP port. It speaks TLS where the HTTP port does, with the same certificate and the same demands on those of clients: a
 * port that took both would let clients send their passcodes in the clear by mistake. Behind a load balancer that tells whose a
 * connection is, every connection begins with that, before TLS.
 */
export class TcpListener {
  private readonly server: Server;
  /** Null: the port speaks no TLS. Behind a load balancer it does not listen itself. */
  private readonly tls: TlsServer | null;
  /** Whose the connections are that are in their handshakes, by where they come from. */
  private readonly sources = new Map<string, string>();

  constructor(private readonly options: TcpListenerOptions) {
    const { certificate, maxConnections, proxyHeaderMs, accept, dropped } = options;
    this.tls = certificate === null ? null : this.tlsServer(certificate);
    if (proxyHeaderMs !== null) {
      this.server = createServer((socket) => this.takeProxied(socket, proxyHeaderMs));
    } else {
      this.server = this.tls ?? createServer((socket) => accept(new TcpConnection(socket, 'tcp'), null));
    }
    this.server.maxConnections = maxConnections + REFUSALS;
    this.server.on('drop', dropped);
  }

  /** Resolves with the port. Fails where it is taken. */
  async listen(port: number, host: string): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.server.once('error', reject);
    this.server.listen({ port, host, backlog: LISTEN_BACKLOG }, resolve);
    await promise;
    this.server.off('error', reject);
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  /** No new connections from now on; those that are open go on. */
  close(): void {
    if (!this.server.listening) return;
    this.server.close();
    if (this.tls !== this.server) this.tls?.close();
  }

  private tlsServer(certificate: ServerCertificate): TlsServer {
    const server = createTlsServer(certificate.options, (socket) => {
      const source = this.sources.get(nameOf(socket)) ?? null;
      this.options.accept(new TcpConnection(socket, 'tls', source), refusalOf(socket));
    });
    certificate.serve(server);
    // Told by `tlsClientError` as well; without a listener it would end the process.
    server.on('connection', (socket: Socket) => socket.on('error', () => undefined));
    return server;
  }

  private takeProxied(socket: Socket, milliseconds: number): void {
    const name = nameOf(socket);
    takeProxyHeader(
      socket,
      milliseconds,
      (source) => {
        if (this.tls === null) {
          this.options.accept(new TcpConnection(socket, 'tcp', source), null);
          return;
        }
        if (source !== null) this.sources.set(name, source);
        socket.once('close', () => this.sources.delete(name));
        this.tls.emit('connection', socket);
      },
      (why) => {
        // Health checks open a connection and close it.
        if (why === 'wrong') this.options.unproxied();
      },
    );
  }
}

/** Of a connection: no other one that is open has the same. */
function nameOf({ remoteAddress, remotePort, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localPort}`;
}

/** Where certificates of clients are optional, one that nobody here trusts is still a mistake, and told as one. */
function refusalOf(socket: TLSSocket): ServiceError | null {
  if (socket.authorized || !hasWrongCertificate(socket)) return null;
  return new ServiceError(
    'NotAuthenticated',
    'the client certificate of this connection was not issued by an authority that is trusted here, or has expired: use another one, or none',
  );
}
