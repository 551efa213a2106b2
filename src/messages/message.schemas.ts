import { z } from 'zod';
import {
  channelId,
  identifier,
  integer,
  isStorable,
  listOf,
  mapOf,
  newChannelId,
  page,
  queryInteger,
} from '../rest/fields.js';

/** The request and response bodies of the data plane, as the OCI SDKs have them. Ours beyond them is marked. */

export const MAX_MESSAGES = 20;
const MAX_VISIBILITY = 43_200;
const MAX_DELAY = 604_799;

const PROPERTIES_ERROR =
  'must be an object of strings; keys have 1 to 255 characters and are not __proto__; without NUL and half surrogate pairs';

const customProperties = mapOf(z.string(), {
  keyLength: 255,
  // How many there may be is decided by the size of the message.
  keys: Infinity,
  error: PROPERTIES_ERROR,
  areGood: (values) => values.every((value) => typeof value === 'string' && isStorable(value)),
}).meta({ description: 'Attributes of the message, for consumers and for filters.', example: { kind: 'invoice' } });

const DEDUPLICATION_ID_ERROR = 'must be a string of 1 to 128 printable ASCII characters';

const messageContent = z
  .string({ error: 'must be a string without half surrogate pairs' })
  .refine((content) => content.isWellFormed(), { error: 'must be a string without half surrogate pairs' })
  .meta({ description: 'The content. Its UTF-8 bytes count for the size limits.', example: 'hello' });

const ENCODING_ERROR = { error: 'must be base64, or absent for text' };
const contentEncoding = z.literal('base64', ENCODING_ERROR);

const messageToPut = z
  .object({
    content: messageContent,
    // Not as a literal: OpenAPI 3.0 has no way to say that one may be null.
    contentEncoding: z
      .string(ENCODING_ERROR)
      .regex(/^base64$/, ENCODING_ERROR)
      .meta({
        description:
          'Towpath extension: base64 says that content is the base64 of the bytes to be stored; absent: it is their text.',
      })
      .nullish(),
    metadata: z
      .object({
        channelId: newChannelId({ description: 'The channel to put into; absent: the queue itself.' }).nullish(),
        customProperties: customProperties.nullish(),
      })
      .nullish()
      .meta({ description: 'The channel and the properties of the message.' }),
    delayInSeconds: integer(0, MAX_DELAY, {
      description: 'Towpath extension: how long the message stays invisible. Must be less than the retention.',
      default: 0,
    }).nullish(),
    deduplicationId: z
      .string({ error: DEDUPLICATION_ID_ERROR })
      .regex(/^[\x20-\x7e]{1,128}$/, { error: DEDUPLICATION_ID_ERROR })
      .meta({
        description:
          'Towpath extension: a name for what the message says. Within the deduplication window of the queue a further ' +
          'message with it is not stored, whatever its content; the answer has the id of the first.',
        example: 'invoice-4711',
      })
      .nullish(),
  })
  .meta({ id: 'PutMessagesDetailsEntry' });

export const putMessagesDetails = z
  .object({
    messages: listOf(messageToPut, 1, MAX_MESSAGES, `must be an array of 1 to ${MAX_MESSAGES} messages`),
  })
  .meta({
    id: 'PutMessagesDetails',
    example: { messages: [{ content: 'hello', metadata: { channelId: 'invoices' } }, { content: 'world' }] },
  });
export type PutMessagesDetails = z.infer<typeof putMessagesDetails>;

const id = z.int().meta({ description: 'The id of the message, below 2^53.', example: 4711 });
const timestamp = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

export const putMessages = z
  .object({
    messages: z.array(
      z
        .object({ id, expireAfter: timestamp('When the message expires, if it is not deleted before.').optional() })
        .meta({ id: 'PutMessage' }),
    ),
  })
  .meta({ id: 'PutMessages' });
export type PutMessages = z.infer<typeof putMessages>;

const receipt = z.string({ error: 'must be a receipt, a string' }).max(1024, { error: 'must be a receipt, a string' });
const RECEIPT_EXAMPLE = 'AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAACAAAAAAAAAAH8pnJNNMIe80SXQr-ZzJFd';
const receiptMeta = {
  description: 'The receipt of the delivery, as getMessages gave it.',
  example: RECEIPT_EXAMPLE,
};
const visibility = {
  description: 'Seconds from now for which the message stays invisible; 0: visible at once.',
  example: 60,
};

const consumerGroupId = identifier({ description: 'The consumer group; absent: the primary one.' }).optional();

export const consumerGroupQuery = z.object({ consumerGroupId });

export const getMessagesQuery = z.object({
  visibilityInSeconds: queryInteger(0, MAX_VISIBILITY, {
    description:
      'For how many seconds the messages are invisible to others; absent: the visibility timeout of the queue. ' +
      '0: they stay visible, while the delivery is counted.',
  }).optional(),
  timeoutInSeconds: queryInteger(0, 30, {
    description:
      'For how many seconds to wait while there is nothing; absent: the polling timeout of the queue; 0: not.',
  }).optional(),
  limit: queryInteger(1, MAX_MESSAGES, { description: 'How many messages at most.', default: 1 }).optional(),
  channelFilter: channelId({
    description: 'Only messages of this channel; absent: of the next channel that has some, each in turn.',
  }).optional(),
  consumerGroupId,
});
export type GetMessagesQuery = z.infer<typeof getMessagesQuery>;

export const message = z
  .object({
    id,
    content: z.string().meta({ description: 'The content as it was put.', example: 'hello' }),
    contentEncoding: contentEncoding.optional().meta({
      description:
        'Towpath extension: base64 where the content is no UTF-8 text, so that JSON cannot hold it; content is the base64 ' +
        'of its bytes then.',
    }),
    receipt: z.string().meta({ description: 'Needed to update or delete the message.', example: RECEIPT_EXAMPLE }),
    deliveryCount: z
      .int()
      .meta({ description: 'How often the message was delivered, this time included.', example: 1 }),
    visibleAfter: timestamp('When the message is visible again.'),
    expireAfter: timestamp('When the message expires.'),
    createdAt: timestamp('When the message was put.'),
    metadata: z
      .object({ channelId: z.string().optional(), customProperties: z.record(z.string(), z.string()).optional() })
      .optional()
      .meta({ description: 'The channel and the properties, where the message has any.' }),
  })
  .meta({ id: 'GetMessage', description: 'A message that was delivered.' });
export type Message = z.infer<typeof message>;

export const getMessages = z.object({ messages: z.array(message) }).meta({ id: 'GetMessages' });

export const updateMessageDetails = z
  .object({ visibilityInSeconds: integer(0, MAX_VISIBILITY, visibility) })
  .meta({ id: 'UpdateMessageDetails', example: { visibilityInSeconds: 60 } });

export const updatedMessage = z
  .object({ id, visibleAfter: timestamp('When the message is visible again; at most its expiry.') })
  .meta({ id: 'UpdatedMessage' });
export type UpdatedMessage = z.infer<typeof updatedMessage>;

const entries = <Entry extends z.ZodType>(entry: Entry): z.ZodType<z.output<Entry>[], unknown> =>
  listOf(entry, 1, MAX_MESSAGES, `must be an array of 1 to ${MAX_MESSAGES} entries`);

export const updateMessagesDetails = z
  .object({
    // The range is checked per entry: one that is out of it fails alone.
    entries: entries(
      z
        .object({
          receipt: receipt.meta(receiptMeta),
          visibilityInSeconds: z.number({ error: `must be an integer from 0 to ${MAX_VISIBILITY}` }).meta({
            ...visibility,
            type: 'integer',
            minimum: 0,
            maximum: MAX_VISIBILITY,
          }),
        })
        .meta({ id: 'UpdateMessagesDetailsEntry' }),
    ),
  })
  .meta({
    id: 'UpdateMessagesDetails',
    example: { entries: [{ receipt: RECEIPT_EXAMPLE, visibilityInSeconds: 60 }] },
  });

export const deleteMessagesDetails = z
  .object({
    entries: entries(z.object({ receipt: receipt.meta(receiptMeta) }).meta({ id: 'DeleteMessagesDetailsEntry' })),
  })
  .meta({ id: 'DeleteMessagesDetails', example: { entries: [{ receipt: RECEIPT_EXAMPLE }] } });

const failure = {
  errorCode: z.int().optional().meta({ description: 'Where this entry failed: 400 or 404.', example: 404 }),
  errorMessage: z.string().optional().meta({ description: 'Where this entry failed: why.' }),
};
const batchResult = {
  serverFailures: z.int().meta({ description: 'How many entries failed because of the service.', example: 0 }),
  clientFailures: z.int().meta({ description: 'How many entries failed because of what was asked.', example: 0 }),
};

export const deleteMessagesResult = z
  .object({
    ...batchResult,
    entries: z
      .array(z.object(failure).meta({ id: 'DeleteMessagesResultEntry' }))
      .meta({ description: 'One per entry of the request, in order; {} is success.' }),
  })
  .meta({ id: 'DeleteMessagesResult' });
export type DeleteMessagesResult = z.infer<typeof deleteMessagesResult>;

export const updateMessagesResult = z
  .object({
    ...batchResult,
    entries: z
      .array(
        z
          .object({ id: id.optional(), visibleAfter: timestamp('When it is visible again.').optional(), ...failure })
          .meta({ id: 'UpdateMessagesResultEntry' }),
      )
      .meta({ description: 'One per entry of the request, in order.' }),
  })
  .meta({ id: 'UpdateMessagesResult' });
export type UpdateMessagesResult = z.infer<typeof updateMessagesResult>;

export const getStatsQuery = z.object({
  channelId: channelId({ description: 'Only the figures of this channel.' }).optional(),
  consumerGroupId,
});

const figures = z
  .object({
    visibleMessages: z.int().meta({ description: 'About how many messages could be delivered now.' }),
    inFlightMessages: z
      .int()
      .meta({ description: 'About how many messages are delivered, not deleted and still invisible.' }),
    delayedMessages: z.int().meta({
      description: 'Towpath extension: about how many messages were put with a delay that is not over.',
    }),
    sizeInBytes: z.int().meta({ description: 'About how many bytes all of them have.' }),
  })
  .meta({ id: 'Stats' });

export const queueStats = z
  .object({
    queue: figures,
    dlq: figures,
    channelId: z.string().optional(),
    consumerGroupId: z.string().optional(),
  })
  .meta({ id: 'QueueStats' });
export type QueueStats = z.infer<typeof queueStats>;

export const listChannelsQuery = z.object({
  consumerGroupId,
  ...page,
  channelFilter: channelId({ description: 'Only this channel, if it holds messages.' }).optional(),
});

export const channelCollection = z
  .object({ items: z.array(z.string()).meta({ example: ['invoices', 'orders'] }) })
  .meta({ id: 'ChannelCollection' });

export { customProperties, id as messageId, messageContent, MAX_VISIBILITY };
