import type { IncomingMessage } from 'node:http';

/** Where STOMP is spoken over WebSocket. */
export const WEBSOCKET_PATH = '/stomp';

/**
 * Whether a request that offers to speak something else is taken at its word. All others are answered as if they had not
 * offered, as HTTP has it: some clients of REST offer HTTP/2 with each first request.
 */
export function takesUpgrade({ headers, url = '' }: Pick<IncomingMessage, 'headers' | 'url'>): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket' && url.split('?', 1)[0] === WEBSOCKET_PATH;
}
