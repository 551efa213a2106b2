import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import type { Configuration } from '../../config/environment.js';
import type { Connections } from '../../rest/connections.js';
import { takesUpgrade } from '../../rest/upgrades.js';
import { hasWrongCertificate } from '../../tls/server-certificate.js';
import { WebSocketConnection } from '../connections/websocket-connection.js';
import type { Accept } from './tcp-listener.js';

/** Best first. A client that offers none is taken too: CONNECT tells the versions. */
const PROTOCOLS = ['v12.stomp', 'v11.stomp', 'v10.stomp'];
/** One message of WebSocket, which may hold several frames or a part of one. */
const MAX_PAYLOAD_BYTES = 1_048_576;

/** STOMP over WebSocket, at /stomp on the HTTP port. */
export class WebSocketListener {
  private readonly server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // It would cost memory per connection, and its dictionaries leak what is near a passcode.
    perMessageDeflate: false,
    maxPayload: MAX_PAYLOAD_BYTES,
    handleProtocols: (offered) => PROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
  });
  private isClosed = false;

  constructor(
    private readonly configuration: Configuration,
    private readonly connections: Connections,
    private readonly accept: Accept,
  ) {}

  attach(http: Server): void {
    http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy());
      const status = this.statusOf(request);
      if (status === null) {
        this.server.handleUpgrade(request, socket, head, (webSocket) => {
          this.accept(new WebSocketConnection(webSocket, addressOf(request, this.configuration.proxyHops)), null);
        });
        return;
      }
      socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
    });
  }

  /** No new connections from now on. */
  close(): void {
    this.isClosed = true;
  }

  /** Why not; null: it may. */
  private statusOf(request: IncomingMessage): number | null {
    const { socket, headers } = request;
    if (!takesUpgrade(request)) return 404;
    if (this.isClosed || this.connections.isSurplus(socket)) return 503;
    if (socket instanceof TLSSocket && this.configuration.tlsClientCaFile !== null && hasWrongCertificate(socket)) {
      return 401;
    }
    // Browsers ask nobody before they open a WebSocket: pages of other origins may where they may call REST.
    const { origin, host } = headers;
    const isOurs = origin === undefined || (URL.canParse(origin) && new URL(origin).host === host);
    return isOurs || this.configuration.corsOrigins.includes(origin) ? null : 403;
  }
}

/** Who opened the connection, or behind proxies who the outermost of ours says did. */
function addressOf({ socket, headers }: IncomingMessage, proxyHops: number): string {
  const forwarded = [headers['x-forwarded-for'] ?? []].flat().join(',').split(',');
  const told = proxyHops === 0 ? undefined : forwarded.at(-proxyHops)?.trim();
  const address = told !== undefined && isIP(told) !== 0 ? told : (socket.remoteAddress ?? '');
  return address.replace(/^::ffff:(?=[\d.]+$)/i, '');
}
