import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { ServiceError } from '../errors/service-error.js';

/**
 * Connections that wait to be accepted, as far as the kernel allows (net.core.somaxconn): when a pod ends, all of its clients come to
 * another one at once, and one that finds no room tries again only after seconds. Every listener has it.
 */
export const LISTEN_BACKLOG = 4096;
/** How many connections beyond the limit are accepted all the same, for as long as it takes to tell them. */
const REFUSALS = 256;
const REFUSAL_MS = 5000;
/** Who asks whether the pod lives is answered also when it is full: a restart would help nobody. */
const PROBES = new Set(['/livez', '/readyz', '/metrics']);

/**
 * The connections of a pod. Where all that `limit` allows are open, further ones get 503 with what to do, and are closed;
 * only a flood of those is dropped without a word.
 */
export class Connections {
  private readonly sockets = new Set<Socket>();
  private readonly surplus = new Set<string>();
  /** How many were refused or dropped. */
  refused = 0;

  constructor(readonly limit: number) {}

  get open(): number {
    return this.sockets.size;
  }

  watch(fastify: FastifyInstance): void {
    const { server } = fastify;
    server.maxConnections = this.limit + REFUSALS;
    server.on('drop', () => {
      this.refused += 1;
    });
    server.on('connection', (socket: Socket) => this.add(socket));
    fastify.addHook('onRequest', (request, reply, done) => {
      if (!this.isSurplus(request.raw.socket)) {
        done();
        return;
      }
      void reply.header('connection', 'close');
      const [path = ''] = request.url.split('?', 1);
      done(PROBES.has(path) ? undefined : this.refusal());
    });
  }

  /** Whether this connection is one beyond the limit. */
  isSurplus(socket: Socket): boolean {
    return this.surplus.size > 0 && this.surplus.has(peerOf(socket));
  }

  private refusal(): ServiceError {
    return new ServiceError(
      'ServiceUnavailable',
      `this pod has all ${this.limit} connections open that it takes (TOWPATH_MAX_CONNECTIONS): keep fewer open, or try again, which may lead to another pod`,
      { retryAfterSeconds: 1 },
    );
  }

  private add(socket: Socket): void {
    this.sockets.add(socket);
    // A TLS server hands requests another socket than this one: what both know is the peer.
    const peer = peerOf(socket);
    const isSurplus = this.sockets.size > this.limit;
    const timer = isSurplus ? setTimeout(() => socket.destroy(), REFUSAL_MS).unref() : undefined;
    if (isSurplus) {
      this.surplus.add(peer);
      this.refused += 1;
    }
    socket.once('close', () => {
      clearTimeout(timer);
      this.sockets.delete(socket);
      if (isSurplus) this.surplus.delete(peer);
    });
  }
}

/** Address and port of the other side, which no two open connections share. */
export function peerOf(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;
}

/** Whether the server speaks TLS. */
export function isTls(server: Server): boolean {
  return 'setSecureContext' in server;
}
