import { z } from 'zod';
import { MAX_FILTER_LENGTH } from '../consumer-groups/filter/filter-syntax.js';
import { customProperties, messageContent, messageId } from '../messages/message.schemas.js';
import { channelId, identifier, instant, integer, listOf, newChannelId, text } from '../rest/fields.js';

/** The request and response bodies of what operators do with dead letters. All of it is ours; OCI Queue has none. */

export const MAX_DELETED = 20;
const MAX_REDRIVEN_IDS = 1000;
const MAX_CHANNELS = 256;

const aMessageId = integer(1, Number.MAX_SAFE_INTEGER, { description: 'The id of a dead letter.', example: 4711 });
const consumerGroupId = identifier({ description: 'The consumer group; absent: the primary one.' });
const targetQueueId = (meaning: string): z.ZodString =>
  identifier({
    description: `The OCID of another queue of the tenancy; absent: ${meaning}`,
    example: 'ocid1.queue.oc1.local.amaaaaaaexample',
  });

export const redriveDeadLettersDetails = z
  .object({
    consumerGroupId: identifier({
      description: 'Only dead letters of this consumer group; absent: of the primary one; all: of every one.',
    }).optional(),
    messageIds: listOf(aMessageId, 1, MAX_REDRIVEN_IDS, `must be an array of 1 to ${MAX_REDRIVEN_IDS} message ids`)
      .meta({ description: 'Only these messages.', example: [4711] })
      .optional(),
    channelIds: listOf(
      channelId({ description: 'A channel.' }),
      1,
      MAX_CHANNELS,
      `must be an array of 1 to ${MAX_CHANNELS} channel ids`,
    )
      .meta({ description: 'Only messages of these channels.', example: ['invoices'] })
      .optional(),
    filter: text(0, MAX_FILTER_LENGTH, {
      description: 'Only messages whose customProperties it takes; docs/filters.md says how.',
      example: ':kind = "invoice"',
    }).optional(),
    createdBefore: instant({ description: 'Only messages that were put before this time.' }).optional(),
    createdAfter: instant({ description: 'Only messages that were put at this time or later.' }).optional(),
    diedBefore: instant({ description: 'Only messages that became dead letters before this time.' }).optional(),
    diedAfter: instant({ description: 'Only messages that became dead letters at this time or later.' }).optional(),
    targetQueueId: targetQueueId('the messages go back to where they came from.').optional(),
    targetChannelId: newChannelId({
      description: 'With targetQueueId: the channel there; absent: each message keeps its channel.',
    }).optional(),
    messagesPerSecond: integer(1, 100_000, { description: 'A rate limit; absent: none.', example: 100 }).optional(),
    isDryRun: z
      .boolean({ error: 'must be true or false' })
      .meta({ description: 'Only count, and change nothing.', default: false })
      .optional(),
  })
  .meta({
    id: 'RedriveDeadLettersDetails',
    description: 'What is named must all hold; nothing named: every dead letter of the primary consumer group.',
    example: { filter: ':kind = "invoice"', messagesPerSecond: 100 },
  });
export type RedriveDeadLettersDetails = z.infer<typeof redriveDeadLettersDetails>;

export const deleteDeadLettersDetails = z
  .object({
    messageIds: listOf(aMessageId, 1, MAX_DELETED, `must be an array of 1 to ${MAX_DELETED} message ids`).meta({
      description: 'The dead letters to delete.',
      example: [4711],
    }),
    consumerGroupId: consumerGroupId.optional(),
  })
  .meta({ id: 'DeleteDeadLettersDetails', example: { messageIds: [4711] } });
export type DeleteDeadLettersDetails = z.infer<typeof deleteDeadLettersDetails>;

export const deleteDeadLettersResult = z
  .object({
    serverFailures: z.int().meta({ description: 'How many entries failed because of the service.', example: 0 }),
    clientFailures: z.int().meta({ description: 'How many entries failed because of what was asked.', example: 0 }),
    entries: z
      .array(
        z
          .object({
            errorCode: z.int().optional().meta({
              description: 'Where this entry failed: 404, or 409 while a consumer of the dead letter queue holds it.',
              example: 404,
            }),
            errorMessage: z.string().optional().meta({ description: 'Where this entry failed: why.' }),
          })
          .meta({ id: 'DeleteDeadLettersResultEntry' }),
      )
      .meta({ description: 'One per message id, in order; {} is success.' }),
  })
  .meta({ id: 'DeleteDeadLettersResult' });
export type DeleteDeadLettersResult = z.infer<typeof deleteDeadLettersResult>;

export const resendDeadLetterDetails = z
  .object({
    messageId: aMessageId,
    consumerGroupId: consumerGroupId.optional(),
    content: messageContent.optional(),
    metadata: z
      .object({
        channelId: newChannelId({ description: 'The channel to put into; absent: the one it had.' }).nullish(),
        customProperties: customProperties.nullish(),
      })
      .optional()
      .meta({ description: 'What is absent stays as it was; customProperties replace all of the old ones.' }),
    targetQueueId: targetQueueId('the same queue, and the consumer group whose dead letter it is.').optional(),
  })
  .meta({
    id: 'ResendDeadLetterDetails',
    description: 'What is absent stays as it was.',
    example: { messageId: 4711, content: 'hello again' },
  });
export type ResendDeadLetterDetails = z.infer<typeof resendDeadLetterDetails>;

export const resentDeadLetter = z
  .object({
    id: messageId,
    expireAfter: z.string().meta({
      description: 'When the new message expires, if it is not deleted before.',
      format: 'date-time',
      example: '2026-11-22T10:26:16.123Z',
    }),
  })
  .meta({ id: 'ResentDeadLetter' });
export type ResentDeadLetter = z.infer<typeof resentDeadLetter>;
