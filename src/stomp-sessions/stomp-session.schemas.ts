import { z } from 'zod';
import { identifier, integer, page, text } from '../rest/fields.js';

/** Sessions over STOMP. All of it is ours: OCI shows none. */

export const listStompSessionsQuery = z.object({
  userId: identifier({
    description: 'Only sessions of this user.',
    example: 'ocid1.user.oc1.local.amaaaaaaexample',
  }).optional(),
  queueId: identifier({
    description: 'Only sessions that subscribe to this queue, or to its dead letter queue.',
    example: 'ocid1.queue.oc1.local.amaaaaaaexample',
  }).optional(),
  podId: identifier({
    description: 'Only sessions of this pod.',
    example: '0f8fad5b-d9cb-469f-a165-70867728950e',
  }).optional(),
  ...page,
});
export type ListStompSessionsQuery = z.infer<typeof listStompSessionsQuery>;

export const disconnectStompSessionDetails = z
  .object({
    reason: text(1, 200, {
      description: 'Told to the client in the message of its ERROR frame.',
      example: 'the queue is being moved',
    }).optional(),
    timeoutInSeconds: integer(0, 10, {
      description: 'How long to wait for the end of the session; 0: the answer comes at once.',
      default: 5,
    }).optional(),
  })
  .meta({
    id: 'DisconnectStompSessionDetails',
    example: { reason: 'the queue is being moved', timeoutInSeconds: 0 },
  });
export type DisconnectStompSessionDetails = z.infer<typeof disconnectStompSessionDetails>;

const time = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

const summary = {
  id: z.string().meta({ description: 'The session of CONNECTED.', example: '7c9e6679-7425-40de-944b-e07fc1f90ae7' }),
  podId: z
    .string()
    .meta({ description: 'The pod that has the connection.', example: '0f8fad5b-d9cb-469f-a165-70867728950e' }),
  userId: z.string().meta({ description: 'Whose it is.', example: 'ocid1.user.oc1.local.amaaaaaaexample' }),
  userName: z.string().meta({ description: 'The name of the user.', example: 'ana' }),
  peerAddress: z.string().meta({
    description: 'Where the connection comes from; behind load balancers what they tell.',
    example: '192.0.2.7',
  }),
  transport: z.enum(['tcp', 'tls', 'websocket']).meta({ description: 'What STOMP is spoken over.' }),
  version: z.enum(['1.0', '1.1', '1.2']).meta({ description: 'The version of STOMP.' }),
  timeConnected: time('When the client logged in, by the clock of the pod.'),
  timeLastHeard: time('When something came from the client last; a heart-beat counts.'),
  timeLastSent: time('When something was sent to the client last; a heart-beat counts. Absent: never.').optional(),
  timeReported: time('When the pod has reported this: the rest is as of then.'),
  subscriptionCount: z.int().meta({ description: 'How many subscriptions it has.', example: 1 }),
  unacknowledgedMessages: z.int().meta({
    description: 'Messages that it was given, whose visibility timeout has not passed, and that are not settled.',
    example: 20,
  }),
  openTransactions: z.int().meta({ description: 'Transactions that it has begun and not ended.', example: 0 }),
  bytesReceived: z.int().meta({ description: 'Bytes of frames and heart-beats from the client.', example: 4711 }),
  bytesSent: z.int().meta({ description: 'Bytes of frames and heart-beats to the client.', example: 4711 }),
};

export const stompSessionSummary = z.object(summary).meta({ id: 'StompSessionSummary' });
export type StompSessionSummary = z.infer<typeof stompSessionSummary>;

export const stompSessionCollection = z
  .object({ items: z.array(stompSessionSummary) })
  .meta({ id: 'StompSessionCollection' });
export type StompSessionCollection = z.infer<typeof stompSessionCollection>;

const subscription = z
  .object({
    id: z.string().meta({ description: 'As SUBSCRIBE has it, the first 200 characters.', example: 'sub-0' }),
    destination: z
      .string()
      .meta({ description: 'As SUBSCRIBE has it, the first 200 characters.', example: '/queue/orders' }),
    queueId: z.string().optional().meta({
      description: 'The queue; absent where it is gone.',
      example: 'ocid1.queue.oc1.local.amaaaaaaexample',
    }),
    consumerGroupId: z.string().optional().meta({
      description: 'The consumer group; absent where the queue has none.',
      example: 'ocid1.queueconsumergroup.oc1.local.amaaaaaaexample',
    }),
    isDeadLetterQueue: z.boolean().meta({ description: 'Whether it is to the dead letter queue.' }),
    channelId: z.string().optional().meta({ description: 'The channel; absent: any.', example: 'eu' }),
    ack: z.enum(['auto', 'client', 'client-individual']).meta({ description: 'How messages are acknowledged.' }),
    prefetchCount: z.int().meta({ description: 'How many messages it may hold.', example: 20 }),
    unacknowledgedMessages: z.int().meta({ description: 'How many it holds.', example: 20 }),
    deliveredMessages: z.int().meta({ description: 'How many it was given since it began.', example: 4711 }),
    keepsLease: z.boolean().meta({ description: 'Whether the timeouts of what it holds are prolonged (lease:keep).' }),
    visibilityInSeconds: z
      .int()
      .optional()
      .meta({ description: 'The visibility timeout; absent: the queue’s.', example: 30 }),
  })
  .meta({ id: 'StompSubscription' });

export const stompSession = z
  .object({
    ...summary,
    subscriptions: z.array(subscription).meta({ description: 'In the order in which they began.' }),
  })
  .meta({ id: 'StompSession' });
export type StompSessionBody = z.infer<typeof stompSession>;

export const disconnectStompSessionResult = z
  .object({
    hasEnded: z.boolean().meta({
      description:
        'Whether the session has ended, and what it held was given back. Where not, the pod has not said so in time: look again.',
    }),
  })
  .meta({ id: 'DisconnectStompSessionResult' });
export type DisconnectStompSessionResult = z.infer<typeof disconnectStompSessionResult>;
