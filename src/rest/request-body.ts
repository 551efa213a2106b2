import type { IncomingMessage } from 'node:http';
import type { Configuration } from '../config/environment.js';
import { ServiceError } from '../errors/service-error.js';
import { SMALL_BYTES, type Hold } from '../memory/memory-budget.js';

/**
 * A body has more bytes than its messages: clients that write JSON in ASCII, as Python's SDK does, need six for each
 * letter that has two in UTF-8.
 */
const BODY_PER_MESSAGE_BYTES = 3;
const ENVELOPE_BYTES = 65_536;
/**
 * What a body takes while its messages are put: itself, its text, the contents as text and as bytes, and what is sent
 * to the database. Measured with bench/large-messages.mjs.
 */
export const BODY_COPIES = 5;
/** A body is slow of which nothing has come for SLOW_MS, or that after SLOW_MS has not come at this rate. */
const SLOW_MS = 5000;
const SLOW_BYTES_PER_SECOND = 16_384;
/** How long the rest of a body that is refused may take to arrive, so that its sender gets to read the answer. */
const DISCARD_MS = 5000;

/** The longest body that is read. */
export function maxBodyBytes(configuration: Configuration): number {
  return configuration.maxRequestBytes * BODY_PER_MESSAGE_BYTES + ENVELOPE_BYTES;
}

/**
 * Reads the body of a request, once there is room for it: until then the socket is not read either. Throws
 * PayloadTooLarge, by content-length where there is one; ServiceUnavailable where there is no room for too long;
 * RequestTimeout where the body is slow and others need its room.
 */
export async function readBody(request: IncomingMessage, hold: Hold, maxBytes: number): Promise<Buffer> {
  const declared = request.headers['content-length'];
  const length = declared === undefined ? null : Number(declared);
  if (length !== null && length > maxBytes) throw tooLarge();
  await takeRoom(request, hold, length ?? SMALL_BYTES);
  try {
    const body = await (length === null ? readChunked(request, hold, maxBytes) : readExactly(request, hold, length));
    hold.arrived();
    return body;
  } catch (error) {
    hold.release();
    throw error;
  }
}

/** Waits for room where there is none. What cannot have it is thrown away as it comes. */
async function takeRoom(request: IncomingMessage, hold: Hold, bodyBytes: number): Promise<void> {
  const isSmall = bodyBytes <= SMALL_BYTES;
  const turn = hold.take(isSmall ? 'small' : 'large', bodyBytes * BODY_COPIES);
  if (turn === undefined) return;
  try {
    await turn;
  } catch (error) {
    await discard(request);
    throw error;
  }
}

function readExactly(request: IncomingMessage, hold: Hold, length: number): Promise<Buffer> {
  // In its place at once: chunks that wait to be put together would be held twice.
  const body = Buffer.allocUnsafe(length);
  let received = 0;
  return read(
    request,
    hold,
    length > SMALL_BYTES,
    (chunk) => {
      received += chunk.copy(body, received);
      return undefined;
    },
    () => (received === length ? body : null),
  );
}

function readChunked(request: IncomingMessage, hold: Hold, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  let hasRoom = false;
  return read(
    request,
    hold,
    true,
    (chunk) => {
      received += chunk.length;
      if (received > maxBytes) throw tooLarge();
      chunks.push(chunk);
      if (received <= SMALL_BYTES || hasRoom) return undefined;
      // Nobody knows how long it will be.
      hasRoom = true;
      return hold.take('large', maxBytes * BODY_COPIES - hold.bytes);
    },
    () => {
      hold.set(received * BODY_COPIES);
      return Buffer.concat(chunks, received);
    },
  );
}

/** Hands every chunk on, stopping while a promise that was returned for one is under way. `end` null: it is too short. */
function read(
  request: IncomingMessage,
  hold: Hold,
  mayBeCut: boolean,
  take: (chunk: Buffer) => Promise<void> | undefined,
  end: () => Buffer | null,
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const fail = (error: unknown): void => {
    stop();
    reject(error);
  };
  const since = performance.now();
  let received = 0;
  let lastAt = since;
  const onData = (chunk: Buffer): void => {
    received += chunk.length;
    lastAt = performance.now();
    try {
      const pause = take(chunk);
      if (pause === undefined) return;
      request.pause();
      // It is not slow, we are.
      lastAt = Infinity;
      pause.then(
        () => {
          lastAt = performance.now();
          request.resume();
        },
        (error: unknown) => {
          stop();
          void discard(request).then(() => reject(error));
        },
      );
    } catch (error) {
      fail(error);
    }
  };
  const onEnd = (): void => {
    const body = end();
    stop();
    if (body === null) reject(cutShort());
    else resolve(body);
  };
  const onClose = (): void => fail(cutShort());
  const stop = (): void => {
    request.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose);
  };
  // What has gone while it waited tells it no more.
  if (request.destroyed) throw cutShort();
  request.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose);
  if (mayBeCut) {
    hold.arrives({
      isSlow: () => {
        const now = performance.now();
        if (lastAt === Infinity) return false;
        const ms = now - since;
        return now - lastAt > SLOW_MS || (ms > SLOW_MS && received < (ms / 1000) * SLOW_BYTES_PER_SECOND);
      },
      cut: () =>
        fail(new ServiceError('RequestTimeout', 'the body came too slowly, while others waited to send theirs')),
    });
  }
  return promise;
}

/** Reads on and keeps nothing: a connection that closes on unread bytes takes the answer with it. */
function discard(request: IncomingMessage): Promise<void> {
  if (request.destroyed) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => {
    clearTimeout(timer);
    resolve();
  };
  const timer = setTimeout(done, DISCARD_MS);
  request.once('end', done).once('close', done).on('error', done).resume();
  return promise;
}

function tooLarge(): ServiceError {
  return new ServiceError(
    'PayloadTooLarge',
    'the body is larger than this service takes: put fewer messages at a time',
  );
}

function cutShort(): ServiceError {
  return new ServiceError('CannotParseRequest', 'the body ended before its end');
}
