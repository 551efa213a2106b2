import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { ServiceError } from '../../errors/service-error.js';
import { hasWrongCertificate, type ServerCertificate } from '../../tls/server-certificate.js';
import type { Connection } from '../connections/connection.js';
import { TcpConnection } from '../connections/tcp-connection.js';

/** Takes a connection; with a refusal it is told why not. */
export type Accept = (connection: Connection, refusal: ServiceError | null) => void;

/** Connections beyond the limit that are accepted all the same, for as long as it takes to tell them. */
const REFUSALS = 256;

/**
 * The STOMP port. It speaks TLS where the HTTP port does, with the same certificate and the same demands on those of clients: a
 * port that took both would let clients send their passcodes in the clear by mistake.
 */
export class TcpListener {
  private readonly server: Server;

  constructor(certificate: ServerCertificate | null, maxConnections: number, accept: Accept, dropped: () => void) {
    if (certificate === null) {
      this.server = createServer((socket) => accept(new TcpConnection(socket, 'tcp'), null));
    } else {
      const server = createTlsServer(certificate.options, (socket) =>
        accept(new TcpConnection(socket, 'tls'), refusalOf(socket)),
      );
      certificate.serve(server);
      // Told by `tlsClientError` as well; without a listener it would end the process.
      server.on('connection', (socket: Socket) => socket.on('error', () => undefined));
      this.server = server;
    }
    this.server.maxConnections = maxConnections + REFUSALS;
    this.server.on('drop', dropped);
  }

  /** Resolves with the port. Fails where it is taken. */
  async listen(port: number, host: string): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.server.once('error', reject);
    this.server.listen({ port, host, backlog: 1024 }, resolve);
    await promise;
    this.server.off('error', reject);
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  /** No new connections from now on; those that are open go on. */
  close(): void {
    if (this.server.listening) this.server.close();
  }
}

/** Where certificates of clients are optional, one that nobody here trusts is still a mistake, and told as one. */
function refusalOf(socket: TLSSocket): ServiceError | null {
  if (socket.authorized || !hasWrongCertificate(socket)) return null;
  return new ServiceError(
    'NotAuthenticated',
    'the client certificate of this connection was not issued by an authority that is trusted here, or has expired: use another one, or none',
  );
}
