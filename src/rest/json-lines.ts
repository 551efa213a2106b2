import { Readable } from 'node:stream';
import { Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { ServiceError } from '../errors/service-error.js';

export const JSON_LINES = 'application/x-ndjson';

/** A part of a list, and where the next one begins; null: this was the last. */
export interface Part<Item, Cursor> {
  readonly items: readonly Item[];
  readonly nextCursor: Cursor | null;
}

/** Answers that are as long as what there is: an object per line. */
@Injectable()
export class JsonLines implements BeforeApplicationShutdown {
  private readonly stopping = new AbortController();

  /** Begins the answer. An error of the items, and the end of the pod, break it off. */
  send(reply: FastifyReply, items: AsyncIterable<unknown>): void {
    // Fastify takes as much as the client does, destroys the stream when the client goes, and the connection when the
    // stream fails: the status is sent by then, and a missing end is what is left to say.
    const stream = Readable.from(lines(items), { signal: this.stopping.signal });
    void reply.type(JSON_LINES).send(stream);
  }

  /** An answer may take longer than the pod's end. */
  beforeApplicationShutdown(): void {
    this.stopping.abort(new ServiceError('ServiceUnavailable', 'the pod stops'));
  }
}

/**
 * All items of a list that is read part by part. The next part is read when all of the one before was taken, so a reader
 * that is slow, or gone, holds up nothing but itself. The first part is read by the caller, so that what is wrong with the
 * request is thrown before the answer begins.
 */
export async function* itemsOf<Item, Cursor>(
  first: Part<Item, Cursor>,
  read: (cursor: Cursor, left: number) => Promise<Part<Item, Cursor>>,
  atMost: number,
): AsyncGenerator<Item> {
  let part = first;
  let left = atMost;
  for (;;) {
    yield* part.items;
    left -= part.items.length;
    if (part.nextCursor === null || left <= 0) return;
    part = await read(part.nextCursor, left);
  }
}

async function* lines(items: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const item of items) yield `${JSON.stringify(item)}\n`;
}
