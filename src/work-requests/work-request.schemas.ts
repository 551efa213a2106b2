import { z } from 'zod';
import { identifier, page } from '../rest/fields.js';

const time = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

const resource = z
  .object({
    entityType: z.string().meta({ description: 'What kind of thing.', example: 'QUEUE' }),
    actionType: z.enum(['CREATED', 'UPDATED', 'DELETED', 'IN_PROGRESS', 'RELATED']).meta({
      description: 'What was done to it; IN_PROGRESS until it is done.',
    }),
    identifier: z.string().meta({ description: 'Its OCID.', example: 'ocid1.queue.oc1.local.amaaaaaaexample' }),
    entityUri: z
      .string()
      .meta({ description: 'Its path.', example: '/20210201/queues/ocid1.queue.oc1.local.amaaaaaaexample' }),
  })
  .meta({ id: 'WorkRequestResource' });

const messages = (description: string): z.ZodInt => z.int().meta({ description, example: 0 });

const redrive = z
  .object({
    examined: messages('How many dead letters were looked at.'),
    matched: messages('How many of them were what was asked for: redriven, skipped or failed.'),
    redriven: messages('How many were moved; none by a dry run.'),
    skipped: messages('How many stayed because a consumer of the dead letter queue held them.'),
    failed: messages('How many stayed because the target queue did not take them; the errors say why.'),
    isDryRun: z.boolean().meta({ description: 'True: it counts and changes nothing.' }),
    messagesPerSecond: z.int().optional().meta({ description: 'The rate limit; absent: none.' }),
  })
  .meta({ id: 'RedriveProgress', description: 'Towpath extension: of REDRIVE_MESSAGES, how far it is.' });

const workRequestFields = {
  operationType: z.enum([
    'CREATE_QUEUE',
    'UPDATE_QUEUE',
    'DELETE_QUEUE',
    'MOVE_QUEUE',
    'PURGE_QUEUE',
    'CREATE_CONSUMER_GROUP',
    'UPDATE_CONSUMER_GROUP',
    'DELETE_CONSUMER_GROUP',
    // Ours.
    'REDRIVE_MESSAGES',
    'ROTATE_DATA_KEY',
  ]),
  status: z.enum(['ACCEPTED', 'IN_PROGRESS', 'FAILED', 'SUCCEEDED', 'CANCELING', 'CANCELED']),
  id: z.string().meta({ example: 'ocid1.queueworkrequest.oc1.local.amaaaaaaexample' }),
  compartmentId: z.string(),
  resources: z.array(resource),
  percentComplete: z.number().meta({ example: 100 }),
  timeAccepted: time('When the request was accepted.'),
  timeStarted: time('When the work began.').optional(),
  timeFinished: time('When the work was done: SDKs wait for this.').optional(),
  redrive: redrive.optional(),
};

export const workRequest = z.object(workRequestFields).meta({ id: 'WorkRequest' });
export type WorkRequestBody = z.infer<typeof workRequest>;

export const workRequestCollection = z
  .object({ items: z.array(z.object(workRequestFields).meta({ id: 'WorkRequestSummary' })) })
  .meta({ id: 'WorkRequestSummaryCollection' });

export const workRequestErrorCollection = z
  .object({
    items: z.array(
      z
        .object({ code: z.string(), message: z.string(), timestamp: time('When it happened.') })
        .meta({ id: 'WorkRequestError' }),
    ),
  })
  .meta({ id: 'WorkRequestErrorCollection' });

export const workRequestLogCollection = z
  .object({
    items: z.array(
      z.object({ message: z.string(), timestamp: time('When it happened.') }).meta({ id: 'WorkRequestLogEntry' }),
    ),
  })
  .meta({ id: 'WorkRequestLogEntryCollection' });

export const listWorkRequestsQuery = z.object({
  compartmentId: identifier({ description: 'Only work requests of this compartment.' }).optional(),
  workRequestId: identifier({ description: 'Only this work request.' }).optional(),
  ...page,
});

export const pageQuery = z.object(page);
