import { z } from 'zod';
import { identifier, instant, oneOf, page, queryInteger, text } from '../rest/fields.js';

/** The audit log. All of it is ours; OCI has a service of its own for that. */

const OUTCOMES = ['SUCCEEDED', 'REFUSED'] as const;

/** Which events: of listAuditEvents and of exportAuditEvents. */
const conditions = {
  timeAfter: instant({ description: 'Only events of this time or later.' }).optional(),
  timeBefore: instant({ description: 'Only events before this time.' }).optional(),
  operation: text(1, 100, { description: 'Only events of this operation.', example: 'updateQueue' }).optional(),
  userId: identifier({
    description: 'Only what this user did.',
    example: 'ocid1.user.oc1.local.amaaaaaaexample',
  }).optional(),
  targetId: identifier({
    description: 'Only what was done to this queue, consumer group or work request.',
    example: 'ocid1.queue.oc1.local.amaaaaaaexample',
  }).optional(),
  outcome: oneOf(OUTCOMES, { description: 'Only what was done, or only what was refused.' }).optional(),
};

export const listAuditEventsQuery = z.object({ ...conditions, ...page });
export type ListAuditEventsQuery = z.infer<typeof listAuditEventsQuery>;

export const exportAuditEventsQuery = z.object({
  ...conditions,
  limit: queryInteger(1, 1_000_000_000, { description: 'How many events at most; absent: all.' }).optional(),
});
export type ExportAuditEventsQuery = z.infer<typeof exportAuditEventsQuery>;
export type AuditConditionsQuery = Omit<ExportAuditEventsQuery, 'limit'>;

const settings = (description: string): z.ZodOptional<z.ZodRecord<z.ZodString, z.ZodUnknown>> =>
  z
    .record(z.string(), z.unknown())
    .optional()
    .meta({ description, example: { visibilityInSeconds: 30 } });

export const auditEvent = z
  .object({
    id: z.int().meta({ description: 'The number of the event.', example: 4711 }),
    timeCreated: z.string().meta({
      description: 'When it happened, by the clock of the database.',
      format: 'date-time',
      example: '2026-11-22T10:26:16.123Z',
    }),
    operation: z.string().meta({ description: 'The operation, as this description names it.', example: 'updateQueue' }),
    outcome: z.enum(OUTCOMES).meta({ description: 'Whether it was done.' }),
    code: z.string().optional().meta({
      description: 'Of what was refused: the code of the error.',
      example: 'NotAuthorizedOrNotFound',
    }),
    targetIds: z.array(z.string()).meta({
      description: 'OCIDs of what it was about, the most particular one first.',
      example: ['ocid1.queue.oc1.local.amaaaaaaexample'],
    }),
    compartmentId: z.string().optional().meta({ description: 'The compartment of the target.' }),
    userId: z.string().optional().meta({
      description: 'Who it was; absent where it was done by SQL.',
      example: 'ocid1.user.oc1.local.amaaaaaaexample',
    }),
    credential: z.string().optional().meta({
      description: 'How they proved it: signature, api-key, …; database-role where it was done by SQL.',
      example: 'signature',
    }),
    credentialId: z.string().optional().meta({
      description: 'The fingerprint of the signing key, or the OCID of the API key or token.',
      example: '20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34',
    }),
    address: z.string().optional().meta({ description: 'The address of the peer.', example: '192.0.2.7' }),
    requestId: z.string().optional().meta({ description: 'The opc-request-id of the request.' }),
    databaseRole: z.string().meta({
      description: 'Who was logged in to the database: the role of the pods, or of whoever used SQL.',
      example: 'towpath',
    }),
    before: settings('The settings before; absent where there were none.'),
    after: settings('The settings after; absent where there are none.'),
    parameters: settings('What was asked for, where it is no setting: of a purge, a redrive, single dead letters.'),
  })
  .meta({ id: 'AuditEvent' });
export type AuditEventBody = z.infer<typeof auditEvent>;

export const auditEventCollection = z.object({ items: z.array(auditEvent) }).meta({ id: 'AuditEventCollection' });
export type AuditEventCollection = z.infer<typeof auditEventCollection>;
