import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';

/** For Fastify's `trustProxy`: so many addresses, from ours outwards, are those of proxies. */
export function trustedHops(hops: number): ((address: string, hop: number) => boolean) | false {
  return hops === 0 ? false : (_, hop) => hop < hops;
}

/**
 * From where a request came: who opened the connection, or behind proxies who they say did. Always an IP address, so that it can go
 * into logs and tables as it is; empty where the connection is gone.
 */
export function clientAddress(request: FastifyRequest): string {
  return addressIn(request.ip) ?? addressIn(request.raw.socket.remoteAddress) ?? '';
}

/** Some proxies add the port; Node writes IPv4 as IPv6 where it listens on both. */
function addressIn(text: string | undefined): string | null {
  if (text === undefined) return null;
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  const address = bare.replace(/^::ffff:(?=[\d.]+$)/i, '');
  return isIP(address) === 0 ? null : address;
}
