import { Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { PeekService, type Peek, type PeekPage } from '../messages/peek.service.js';
import type { ExportDeadLettersQuery } from './export.schemas.js';

/** How many dead letters are read, and held in memory, at a time; with the 2 MiB that one look returns at most. */
const PAGE = 100;

/** Writes dead letters down, all that there are. */
@Injectable()
export class ExportService implements BeforeApplicationShutdown {
  private readonly stopping = new AbortController();

  constructor(private readonly peeks: PeekService) {}

  /**
   * The dead letters as JSON, one per line. The next page is read when all lines of the one before were taken, so a
   * reader that is slow, or gone, holds up nothing but itself. What can be wrong with the request is thrown before the
   * first line: InvalidParameter, NotAuthorizedOrNotFound. An error after that ends the lines.
   */
  async export(caller: Caller, reference: string, query: ExportDeadLettersQuery): Promise<AsyncIterable<string>> {
    const { range, ...peek } = await this.peeks.prepare(caller, reference, query);
    if (range.deadLetter) {
      throw new ServiceError('InvalidParameter', 'queueId: an export is of the dead letters always; leave out /dlq');
    }
    const ofDeadLetters = { ...peek, range: { ...range, deadLetter: true } };
    const atMost = query.limit ?? Infinity;
    const first = await this.peeks.page(ofDeadLetters, null, Math.min(PAGE, atMost));
    return this.lines(ofDeadLetters, first, atMost);
  }

  /** Is aborted when the pod stops: an export may take longer than its end. */
  get whenStopping(): AbortSignal {
    return this.stopping.signal;
  }

  beforeApplicationShutdown(): void {
    this.stopping.abort(new ServiceError('ServiceUnavailable', 'the pod stops'));
  }

  private async *lines(peek: Peek, first: PeekPage, atMost: number): AsyncGenerator<string> {
    let page = first;
    let left = atMost;
    for (;;) {
      for (const message of page.messages) yield `${JSON.stringify(message)}\n`;
      left -= page.messages.length;
      if (page.nextCursor === null || left <= 0) return;
      page = await this.peeks.page(peek, page.nextCursor, Math.min(PAGE, left));
    }
  }
}
