import { z } from 'zod';
import { LIFECYCLE_STATES, listQuery } from '../queues/queue.schemas.js';
import { definedTags, freeformTags, identifier, integer, oneOf, text } from '../rest/fields.js';
import { MAX_FILTER_LENGTH } from './filter/filter-syntax.js';

/** The request and response bodies of consumer groups, as the OCI SDKs have them. */

const displayName = text(1, 255, {
  description: 'A name for people; unique in its queue, whatever the case.',
  example: 'billing',
});
const filter = text(0, MAX_FILTER_LENGTH, {
  description: 'Which messages the group takes, by their customProperties; empty: every one. docs/filters.md says how.',
  example: ':kind = "invoice" and :amount > 100',
});
const isEnabled = z
  .boolean({ error: 'must be true or false' })
  .meta({ description: 'False: the group is INACTIVE, takes no messages and gives none.', default: true });
const tags = { freeformTags: freeformTags.optional(), definedTags: definedTags.optional() };

export const createConsumerGroupDetails = z
  .object({
    displayName,
    queueId: identifier({ description: 'The OCID of the queue.', example: 'ocid1.queue.oc1.local.amaaaaaaexample' }),
    filter: filter.optional(),
    isEnabled: isEnabled.optional(),
    deadLetterQueueDeliveryCount: integer(0, 20, {
      description: 'As the queue has it, for this group; 0: no dead letter queue; absent: what the queue says.',
    }).optional(),
    ...tags,
  })
  .meta({
    id: 'CreateConsumerGroupDetails',
    example: {
      displayName: 'billing',
      queueId: 'ocid1.queue.oc1.local.amaaaaaaexample',
      filter: ':kind = "invoice" and :amount > 100',
      deadLetterQueueDeliveryCount: 3,
    },
  });

export const updateConsumerGroupDetails = z
  .object({
    displayName: displayName.optional(),
    filter: filter.optional(),
    isEnabled: isEnabled.optional(),
    deadLetterQueueDeliveryCount: integer(-1, 20, {
      description: '-1: what the queue says holds again; 0: no dead letter queue.',
    }).optional(),
    ...tags,
  })
  .meta({
    id: 'UpdateConsumerGroupDetails',
    description: 'What is absent stays as it is.',
    example: { isEnabled: false },
  });

export const listConsumerGroupsQuery = z.object({
  queueId: identifier({ description: 'Only consumer groups of this queue.' }).optional(),
  lifecycleState: oneOf(LIFECYCLE_STATES, {
    description: 'Only those in this state; absent: all but the deleted ones.',
  }).optional(),
  displayName: text(1, 255, { description: 'Only those with exactly this name.' }).optional(),
  id: identifier({ description: 'Only the one with this OCID.' }).optional(),
  ...listQuery,
});

const time = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

const summary = {
  id: z.string().meta({
    description: 'The OCID of the consumer group.',
    example: 'ocid1.queueconsumergroup.oc1.local.amaaaaaaexample',
  }),
  displayName,
  queueId: z.string().meta({ description: 'The OCID of its queue.', example: 'ocid1.queue.oc1.local.amaaaaaaexample' }),
  lifecycleState: z.enum(LIFECYCLE_STATES).meta({ example: 'ACTIVE' }),
  lifecycleDetails: z.string().optional().meta({ description: 'What is going on.' }),
  filter,
  timeCreated: time('When the group was created.'),
  timeUpdated: time('When the group was last changed.'),
  freeformTags,
  definedTags,
  systemTags: definedTags,
};

export const consumerGroup = z
  .object({
    ...summary,
    deadLetterQueueDeliveryCount: z.int().optional().meta({ description: 'Absent: what the queue says.' }),
  })
  .meta({ id: 'ConsumerGroup' });
export type ConsumerGroupBody = z.infer<typeof consumerGroup>;

export const consumerGroupCollection = z
  .object({ items: z.array(z.object(summary).meta({ id: 'ConsumerGroupSummary' })) })
  .meta({ id: 'ConsumerGroupCollection' });
export type ConsumerGroupCollection = z.infer<typeof consumerGroupCollection>;
