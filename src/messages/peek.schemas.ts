import { z } from 'zod';
import { MAX_FILTER_LENGTH } from '../consumer-groups/filter/filter-syntax.js';
import { channelId, identifier, instant, page, queryInteger, text } from '../rest/fields.js';
import { message } from './message.schemas.js';

/** Looking at messages: a Towpath extension, in the manner of the contract's data plane. */

const MAX_IDS = 20;
const IDS_ERROR = `must be 1 to ${MAX_IDS} ids of messages, separated by commas`;

/** Which messages: of peekMessages and of exportDeadLetters. */
export const peekConditions = {
  channelFilter: channelId({
    description:
      'Only messages of this channel, in the order of visibleAfter. One that is delivered meanwhile may come again, or be ' +
      'missed.',
  }).optional(),
  consumerGroupId: identifier({ description: 'The consumer group; absent: the primary one.' }).optional(),
  messageId: z
    .string({ error: IDS_ERROR })
    .regex(new RegExp(`^\\d{1,16}(,\\d{1,16}){0,${MAX_IDS - 1}}$`), { error: IDS_ERROR })
    .meta({
      description: `Only messages with these ids, at most ${MAX_IDS}, separated by commas.`,
      example: '4711,4712',
    })
    .optional(),
  filter: text(1, MAX_FILTER_LENGTH, {
    description: 'Only messages that this filter takes, by their customProperties; as those of consumer groups.',
    example: ':kind = "invoice" and :amount > 100',
  }).optional(),
  createdAfter: instant({ description: 'Only messages that were put at this time or later.' }).optional(),
  createdBefore: instant({ description: 'Only messages that were put before this time.' }).optional(),
};

export const peekMessagesQuery = z.object({
  ...peekConditions,
  limit: queryInteger(1, 100, { description: 'How many messages at most.', default: 20 }).optional(),
  page: page.page,
});
export type PeekMessagesQuery = z.infer<typeof peekMessagesQuery>;
export type PeekConditionsQuery = Omit<PeekMessagesQuery, 'limit' | 'page'>;

const timestamp = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

export const peekedMessage = message
  .omit({ receipt: true, deliveryCount: true, visibleAfter: true })
  .extend({
    state: z.enum(['VISIBLE', 'IN_FLIGHT', 'DELAYED']).meta({
      description: 'IN_FLIGHT: delivered, and invisible until visibleAfter. DELAYED: never delivered, and invisible.',
      example: 'IN_FLIGHT',
    }),
    deliveryCount: z.int().meta({ description: 'How often the message was delivered.', example: 1 }),
    visibleAfter: timestamp('Since when the message is visible, or when it will be.'),
    sizeInBytes: z.int().meta({ description: 'The bytes of its content and its properties.', example: 5 }),
    unreadable: z.string().optional().meta({
      description: 'Why content and properties are missing: the message cannot be opened. Absent for all others.',
    }),
    consumerGroupId: z.string().optional().meta({ description: 'The consumer group, where one was asked for.' }),
    deliveries: z
      .array(
        z
          .object({
            deliveredAt: timestamp('When it was delivered.'),
            deliveredTo: z.string().optional().meta({
              description: 'The OCID of the user, where it is known.',
              example: 'ocid1.user.oc1..aaaaexample',
            }),
          })
          .meta({ id: 'Delivery' }),
      )
      .meta({ description: 'Its deliveries, oldest first: the last one and up to 20 before it.' }),
    deadLetter: z
      .object({
        diedAt: timestamp('When it became a dead letter.'),
        reason: z
          .string()
          .optional()
          .meta({ description: 'Why.', example: 'delivered 5 times and not deleted, and 5 deliveries are allowed' }),
      })
      .optional()
      .meta({ id: 'DeadLetter', description: 'Of dead letters.' }),
  })
  .meta({ id: 'PeekedMessage', description: 'A message that was looked at. It has no receipt.' });
export type PeekedMessage = z.infer<typeof peekedMessage>;

export const peekedMessages = z.object({ messages: z.array(peekedMessage) }).meta({ id: 'PeekedMessages' });
