import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { isTls, peerOf } from './connections.js';

const SWEEP_EVERY_MS = 100;

/**
 * Sees to it that a server that closes gets rid of its connections. Node closes those that are idle at that moment, and
 * then waits up to their timeouts for two kinds: those whose answer was still under way, which stay open for
 * a next request, and those on which no request ever came, which clients and load balancers open in advance.
 */
export function closeConnectionsOnClose(fastify: FastifyInstance): void {
  const { server } = fastify;
  const unused = new Set<Socket>();
  /** Connections in their TLS handshake, by peer: the socket that comes out of it is another one. */
  const shaking = new Map<string, Socket>();
  let isClosing = false;
  const isUnused = (socket: Socket): void => {
    unused.add(socket);
    shaking.delete(peerOf(socket));
    socket.once('close', () => unused.delete(socket));
  };
  if (isTls(server)) {
    server.on('connection', (socket: Socket) => {
      const peer = peerOf(socket);
      shaking.set(peer, socket);
      socket.once('close', () => {
        if (shaking.get(peer) === socket) shaking.delete(peer);
      });
    });
    server.on('secureConnection', isUnused);
  } else {
    server.on('connection', isUnused);
  }
  server.on('request', ({ socket }) => unused.delete(socket));
  fastify.addHook('onSend', (_request, reply, _payload, done) => {
    if (isClosing) void reply.header('connection', 'close');
    done();
  });
  fastify.addHook('preClose', (done) => {
    isClosing = true;
    const sweep = setInterval(() => {
      server.closeIdleConnections();
      // A request that is arriving may still be served.
      for (const socket of unused) if (socket.bytesRead === 0) socket.destroy();
      for (const socket of shaking.values()) socket.destroy();
    }, SWEEP_EVERY_MS);
    server.once('close', () => clearInterval(sweep));
    // A server that never listened tells no end.
    if (!server.listening) clearInterval(sweep);
    done();
  });
}
