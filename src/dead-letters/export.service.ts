import { Injectable } from '@nestjs/common';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import type { PeekedMessage } from '../messages/peek.schemas.js';
import { PeekService, type Peek } from '../messages/peek.service.js';
import { itemsOf, type Part } from '../rest/json-lines.js';
import type { ExportDeadLettersQuery } from './export.schemas.js';

/** How many dead letters are read, and held in memory, at a time; with the 2 MiB that one look returns at most. */
const PAGE = 100;

/** Writes dead letters down, all that there are. */
@Injectable()
export class ExportService {
  constructor(private readonly peeks: PeekService) {}

  /**
   * The dead letters, each as peekMessages shows it. What can be wrong with the request is thrown before the first:
   * InvalidParameter, NotAuthorizedOrNotFound. An error after that ends them.
   */
  async export(
    caller: Caller,
    reference: string,
    query: ExportDeadLettersQuery,
  ): Promise<AsyncIterable<PeekedMessage>> {
    const { range, ...peek } = await this.peeks.prepare(caller, reference, query);
    if (range.deadLetter) {
      throw new ServiceError('InvalidParameter', 'queueId: an export is of the dead letters always; leave out /dlq');
    }
    const ofDeadLetters: Peek = { ...peek, range: { ...range, deadLetter: true } };
    const read = async (cursor: string | null, left: number): Promise<Part<PeekedMessage, string>> => {
      const { messages, nextCursor } = await this.peeks.page(ofDeadLetters, cursor, Math.min(PAGE, left));
      return { items: messages, nextCursor };
    };
    const atMost = query.limit ?? Infinity;
    return itemsOf(await read(null, atMost), read, atMost);
  }
}
