import { z } from 'zod';
import {
  channelId,
  definedTags,
  freeformTags,
  identifier,
  integer,
  listOf,
  oneOf,
  page,
  text,
} from '../rest/fields.js';

/** The request and response bodies of the control plane's queue operations, as the OCI SDKs have them. */

const displayName = text(1, 255, { description: 'A name for people; need not be unique.', example: 'orders' });
const compartmentId = identifier({
  description: 'The OCID of a compartment of your tenancy, or of the tenancy.',
  example: 'ocid1.compartment.oc1.local.amaaaaaaexample',
});
const capabilities = listOf(
  z
    .object({
      type: oneOf(['LARGE_MESSAGES', 'CONSUMER_GROUPS'], {
        description:
          'LARGE_MESSAGES: messages up to 512,000 bytes. CONSUMER_GROUPS: several independent ways out of the queue; ' +
          'cannot be taken away. The other fields are for it, and used only when it is added.',
      }),
      isPrimaryConsumerGroupEnabled: z
        .boolean({ error: 'must be true or false' })
        .nullish()
        .meta({ description: 'False: the primary consumer group is INACTIVE.', default: true }),
      primaryConsumerGroupDisplayName: text(1, 255, {
        description: 'Its name.',
        default: 'Primary Consumer Group',
      }).nullish(),
      primaryConsumerGroupFilter: text(0, 2000, {
        description: 'The primary consumer group takes every message: empty or absent.',
      }).nullish(),
      primaryConsumerGroupDeadLetterQueueDeliveryCount: integer(-1, 20, {
        description:
          'As deadLetterQueueDeliveryCount, for the primary consumer group; absent or -1: what the queue says.',
      }).nullish(),
    })
    .meta({ id: 'CapabilityDetails' }),
  0,
  8,
  'must be an array of up to 8 objects with a type',
).meta({ description: 'What the queue can do beyond the ordinary.', example: [{ type: 'LARGE_MESSAGES' }] });

const DURABILITIES = ['FULL', 'RELAXED'] as const;

/** The settings that may be changed; only at creation does what is absent have a default. */
const settings = (isNew: boolean) => ({
  visibilityInSeconds: integer(1, 43_200, {
    description: 'Default visibility timeout: for how many seconds a delivered message is invisible to others.',
    ...(isNew && { default: 30 }),
  }).optional(),
  timeoutInSeconds: integer(0, 30, {
    description: 'Default polling timeout: for how many seconds a get waits while there is nothing.',
    ...(isNew && { default: 30 }),
  }).optional(),
  channelConsumptionLimit: integer(1, 100, {
    description: 'How many percent of the capacity of the queue one channel may use.',
    ...(isNew && { default: 100 }),
  }).optional(),
  deadLetterQueueDeliveryCount: integer(0, 20, {
    description:
      'After so many deliveries that were not followed by a deletion a message moves to the dead letter queue; 0: never.',
    ...(isNew && { default: 5 }),
  }).optional(),
  customEncryptionKeyId: text(0, 255, {
    description:
      'A master key of the operator that the messages are sealed under; empty: the one that the service uses anyway. While ' +
      'it is disabled, or there is none of this name, puts and reads of the queue answer 409.',
  }).optional(),
  deduplicationWindowInSeconds: integer(0, 86_400, {
    description:
      'Towpath extension: for how many seconds a put with a deduplicationId or an opc-retry-token is remembered, so that a ' +
      'repeat stores nothing; 0: not.',
    ...(isNew && { default: 300 }),
  }).optional(),
  acceptUnsealed: z
    .boolean({ error: 'must be true or false' })
    .meta({
      description:
        'Towpath extension: whether the SQL function put_messages, which stores contents as they are, may put into the queue.',
      ...(isNew && { default: false }),
    })
    .optional(),
  durability: oneOf(DURABILITIES, {
    description:
      'Towpath extension: FULL: whatever is confirmed is on disk. RELAXED: puts and deletions of messages are ' +
      'confirmed earlier; should the server of the database crash, those confirmed in its last moments may be undone.',
    ...(isNew && { default: 'FULL' }),
  }).optional(),
  capabilities: capabilities.optional(),
  freeformTags: freeformTags.optional(),
  definedTags: definedTags.optional(),
});

export const createQueueDetails = z
  .object({
    displayName,
    compartmentId,
    retentionInSeconds: integer(10, 604_800, {
      description: 'After so many seconds a message expires. Cannot be changed later.',
      default: 86_400,
    }).optional(),
    ...settings(true),
  })
  .meta({
    id: 'CreateQueueDetails',
    example: {
      displayName: 'orders',
      compartmentId: 'ocid1.compartment.oc1.local.amaaaaaaexample',
      visibilityInSeconds: 60,
      deadLetterQueueDeliveryCount: 3,
    },
  });

export const updateQueueDetails = z.object({ displayName: displayName.optional(), ...settings(false) }).meta({
  id: 'UpdateQueueDetails',
  description: 'What is absent stays as it is.',
  example: { visibilityInSeconds: 120 },
});

export const changeQueueCompartmentDetails = z.object({ compartmentId }).meta({
  id: 'ChangeQueueCompartmentDetails',
  example: { compartmentId: 'ocid1.compartment.oc1.local.amaaaaaaexample' },
});

const channelIds = listOf(
  channelId({ description: 'A channel.' }),
  1,
  256,
  'must be an array of 1 to 256 channel ids',
).meta({ description: 'Only these channels; absent: the queue and all its channels.', example: ['invoices'] });

export const purgeQueueDetails = z
  .object({
    purgeType: oneOf(['NORMAL', 'DLQ', 'BOTH'], {
      description: 'The messages of the queue, those of its dead letter queue, or both.',
    }),
    channelIds: channelIds.optional(),
    consumerGroupId: identifier({
      description: 'Only this consumer group; absent: the primary one; all: every one.',
    }).optional(),
  })
  .meta({ id: 'PurgeQueueDetails', example: { purgeType: 'NORMAL' } });

export const LIFECYCLE_STATES = [
  'CREATING',
  'UPDATING',
  'ACTIVE',
  'DELETING',
  'DELETED',
  'FAILED',
  'INACTIVE',
] as const;

const anyCase = <Schema extends z.ZodType>(
  schema: Schema,
  change: (text: string) => string,
): z.ZodType<z.output<Schema>, unknown> =>
  z.preprocess((value) => (typeof value === 'string' ? change(value) : value), schema);

/** How lists of named things are sorted and paged. */
export const listQuery = {
  sortBy: oneOf(['timeCreated', 'displayName'], { description: 'The order.', default: 'timeCreated' }).optional(),
  sortOrder: anyCase(
    oneOf(['ASC', 'DESC'], { description: 'Default: DESC by timeCreated, ASC by displayName. Any case.' }),
    (value) => value.toUpperCase(),
  ).optional(),
  ...page,
};

export const listQueuesQuery = z.object({
  compartmentId: identifier({
    description: 'Only queues of this compartment; absent: of the whole tenancy.',
  }).optional(),
  lifecycleState: oneOf(LIFECYCLE_STATES, {
    description: 'Only queues in this state; absent: all but the deleted ones.',
  }).optional(),
  displayName: text(1, 255, { description: 'Only queues with exactly this name.' }).optional(),
  id: identifier({ description: 'Only the queue with this OCID.' }).optional(),
  ...listQuery,
});

const time = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

const common = {
  id: z.string().meta({ description: 'The OCID of the queue.', example: 'ocid1.queue.oc1.local.amaaaaaaexample' }),
  displayName,
  compartmentId,
  timeCreated: time('When the queue was created.'),
  timeUpdated: time('When the queue was last changed.'),
  lifecycleState: z.enum(LIFECYCLE_STATES).meta({ example: 'ACTIVE' }),
  lifecycleDetails: z.string().optional().meta({ description: 'What is going on, for example Purging.' }),
  messagesEndpoint: z.string().meta({
    description: 'Where the messages of this queue are put and got: the endpoint for a QueueClient.',
    example: 'http://127.0.0.1:8080',
  }),
  freeformTags,
  definedTags,
  systemTags: definedTags,
};

export const queue = z
  .object({
    ...common,
    retentionInSeconds: z.int().meta({ description: 'After so many seconds a message expires.', example: 86_400 }),
    visibilityInSeconds: z.int().meta({ description: 'Default visibility timeout.', example: 30 }),
    timeoutInSeconds: z.int().meta({ description: 'Default polling timeout.', example: 30 }),
    channelConsumptionLimit: z.int().meta({ description: 'Percent of the capacity for one channel.', example: 100 }),
    deadLetterQueueDeliveryCount: z.int().meta({
      description: 'Deliveries after which a message is a dead letter; 0: never.',
      example: 5,
    }),
    customEncryptionKeyId: z
      .string()
      .optional()
      .meta({ description: 'The master key that the messages are sealed under; absent: the one of the service.' }),
    deduplicationWindowInSeconds: z.int().meta({
      description: 'Towpath extension: for how many seconds a put that may be repeated is remembered; 0: not.',
      example: 300,
    }),
    acceptUnsealed: z.boolean().meta({
      description: 'Towpath extension: whether the SQL function put_messages may put into the queue.',
      example: false,
    }),
    durability: z.enum(DURABILITIES).meta({
      description: 'Towpath extension: whether puts and deletions of messages are on disk before they are confirmed.',
      example: 'FULL',
    }),
    capabilities,
  })
  .meta({ id: 'Queue' });
export type QueueBody = z.infer<typeof queue>;

export const queueCollection = z
  .object({
    items: z.array(
      z
        .object({ ...common, capabilities: z.array(z.string()).meta({ example: ['LARGE_MESSAGES'] }) })
        .meta({ id: 'QueueSummary' }),
    ),
  })
  .meta({ id: 'QueueCollection' });
export type QueueCollection = z.infer<typeof queueCollection>;
