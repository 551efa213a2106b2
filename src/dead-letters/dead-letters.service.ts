import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { readFilter } from '../consumer-groups/filter/compile-filter.js';
import { DeadLetterFunctions, type DeadLetterDeletion } from '../database/dead-letter-functions.js';
import type { Queue, WorkRequest } from '../database/queue-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { MessageRanges } from '../messages/message-ranges.js';
import { maxMessageBytesOf } from '../messages/message-size.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import { unquoted } from '../rest/conditions.js';
import { WorkRequestRunner } from '../work-requests/work-request-runner.js';
import type {
  DeleteDeadLettersDetails,
  DeleteDeadLettersResult,
  RedriveDeadLettersDetails,
  ResendDeadLetterDetails,
  ResentDeadLetter,
} from './dead-letter.schemas.js';

const TIMES = ['createdBefore', 'createdAfter', 'diedBefore', 'diedAfter'] as const;

/**
 * What operators do with dead letters. A queue may be named with or without /dlq: it is its dead letters in any case.
 * What becomes visible is told to those who wait by SQL, in the transaction that does it.
 */
@Injectable()
export class DeadLettersService {
  constructor(
    private readonly functions: DeadLetterFunctions,
    private readonly directory: QueueDirectory,
    private readonly ranges: MessageRanges,
    private readonly runner: WorkRequestRunner,
    private readonly sealed: SealedMessages,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /** Throws InvalidParameter (filter, target), NotAuthorizedOrNotFound, IncorrectState, NoEtagMatch. */
  async redrive(
    caller: Caller,
    reference: string,
    { filter, ...details }: RedriveDeadLettersDetails,
    ifMatch: string | undefined,
  ): Promise<WorkRequest> {
    const isFiltered = readFilter(filter) !== null;
    const { queue } = await this.directory.find(caller, reference);
    const target = await this.target(caller, details.targetQueueId);
    if (isFiltered || target !== null) this.sealed.checkMasterKey(queue);
    if (target !== null) this.sealed.checkMasterKey(target);
    const request = await this.functions.redrive({
      caller,
      queueId: queue.id,
      details: withTimesInUtc(details),
      filter: isFiltered && filter !== undefined ? filter : null,
      ifMatch: unquoted(ifMatch),
      maxMessageBytes: target === null ? null : this.maxMessageBytes(target),
      maxChannels: this.configuration.maxChannels,
    });
    this.runner.run(request.id);
    return request;
  }

  /** One result per id, in order; one that fails does not touch the others. */
  async delete(caller: Caller, reference: string, details: DeleteDeadLettersDetails): Promise<DeleteDeadLettersResult> {
    const { range } = await this.ranges.find(caller, reference, details.consumerGroupId);
    const results = await this.functions.delete(caller, range.queueId, range.consumerGroupId, details.messageIds);
    return {
      serverFailures: 0,
      clientFailures: results.filter((result) => result !== 'deleted').length,
      entries: results.map(toEntry),
    };
  }

  /** Throws NotAuthorizedOrNotFound, IncorrectState (somebody holds it, nobody takes it), LimitExceeded. */
  async resend(caller: Caller, reference: string, details: ResendDeadLetterDetails): Promise<ResentDeadLetter> {
    const { queue, range } = await this.ranges.find(caller, reference, details.consumerGroupId);
    const target = await this.target(caller, details.targetQueueId);
    const { messageId, content, metadata } = details;
    const stored = await this.functions.read(range.queueId, range.consumerGroupId, messageId);
    if (stored === null) {
      throw new ServiceError('NotAuthorizedOrNotFound', 'messageId: the dead letter queue has no such message');
    }
    const isWhole = content !== undefined && metadata?.customProperties !== undefined;
    // What is wholly replaced need not be readable.
    const [old = null] = isWhole ? [] : await this.sealed.open(queue, [stored]);
    if (old === null && !isWhole) {
      throw new ServiceError(
        'IncorrectState',
        'messageId: the message cannot be opened, because it was altered in the database: give content and customProperties anew, or delete it',
      );
    }
    const message = {
      content: content === undefined ? (old?.content ?? Buffer.alloc(0)) : Buffer.from(content),
      // The copy names the one that it replaces.
      properties: {
        ...(metadata?.customProperties ?? old?.properties),
        'towpath.resentFrom': `${queue.id}/${messageId}`,
      },
    };
    const into = target ?? queue;
    // The filters of its consumer groups are for another queue; in its own the message stays with its group.
    const { id, expireAfter } = await this.sealed.seal(into, [message], true, ({ contents, keyId }) =>
      this.functions.resend({
        caller,
        queueId: range.queueId,
        consumerGroupId: range.consumerGroupId,
        messageId,
        content: contents[0] ?? message.content,
        contentBytes: message.content.length,
        channelId: metadata?.channelId ?? null,
        properties: message.properties,
        keyId,
        targetQueueId: target?.queueId ?? null,
        maxMessageBytes: this.maxMessageBytes(into),
        maxChannels: this.configuration.maxChannels,
      }),
    );
    return { id, expireAfter: expireAfter.toISOString() };
  }

  private async target(caller: Caller, id: string | undefined): Promise<Queue | null> {
    return id === undefined ? null : this.directory.findOther(caller, id, 'use queue-push');
  }

  private maxMessageBytes(queue: Queue): number {
    return maxMessageBytesOf(queue, this.configuration.maxMessageBytes);
  }
}

/** PostgreSQL takes fewer time zones than RFC 3339 has. */
function withTimesInUtc(details: Omit<RedriveDeadLettersDetails, 'filter'>): object {
  const times = TIMES.flatMap((name) => {
    const time = details[name];
    return time === undefined ? [] : [[name, new Date(time).toISOString()]];
  });
  return { ...details, ...Object.fromEntries(times) };
}

function toEntry(result: DeadLetterDeletion): DeleteDeadLettersResult['entries'][number] {
  if (result === 'deleted') return {};
  const { status, message } =
    result === 'in flight'
      ? new ServiceError('IncorrectState', 'a consumer of the dead letter queue holds the message: delete it later')
      : new ServiceError('NotAuthorizedOrNotFound', 'the dead letter queue has no such message');
  return { errorCode: status, errorMessage: message };
}
