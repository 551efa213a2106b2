import { z } from 'zod';
import { identifier, listOf, oneOf, page, text } from '../rest/fields.js';
import { MAX_STATEMENT_LENGTH } from './policy-syntax.js';
import { VERBS } from './resource-types.js';

/** The request and response bodies of policies, in the manner of OCI's identity service. */

const name = text(1, 100, { description: 'A name that no other policy of the tenancy has.', example: 'producers' });
const description = text(0, 400, { description: 'What it is for.', example: 'Who puts orders' });
const EXAMPLE = ['allow group producers to use queue-push in compartment shop:orders'];
const statements = listOf(
  text(1, MAX_STATEMENT_LENGTH, { description: 'A statement.' }),
  1,
  50,
  'must be an array of 1 to 50 statements',
).meta({ description: 'What it allows.', example: EXAMPLE });
const compartmentId = identifier({
  description:
    'Where it belongs: whoever may manage policies there may change it. Its statements are about that compartment or those in it.',
  example: 'ocid1.compartment.oc1.local.amaaaaaaexample',
});

export const createPolicyDetails = z
  .object({ compartmentId, name, description: description.optional(), statements })
  .meta({
    id: 'CreatePolicyDetails',
    example: { compartmentId: 'ocid1.tenancy.oc1.local.amaaaaaaexample', name: 'producers', statements: EXAMPLE },
  });
export type CreatePolicyDetails = z.infer<typeof createPolicyDetails>;

export const updatePolicyDetails = z
  .object({ name: name.optional(), description: description.optional(), statements: statements.optional() })
  .meta({
    id: 'UpdatePolicyDetails',
    description: 'What is absent stays as it is; statements replace all that there were.',
    example: { statements: EXAMPLE },
  });
export type UpdatePolicyDetails = z.infer<typeof updatePolicyDetails>;

export const listPoliciesQuery = z.object({
  compartmentId: identifier({ description: 'Only those that belong to this compartment.' }).optional(),
  name: text(1, 100, { description: 'Only the one with exactly this name.' }).optional(),
  ...page,
});

const time = (about: string): z.ZodString =>
  z.string().meta({ description: about, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });

export const policy = z
  .object({
    id: z.string().meta({ description: 'The OCID of the policy.', example: 'ocid1.policy.oc1.local.amaaaaaaexample' }),
    compartmentId: z.string().meta({ description: 'Where it belongs.' }),
    name: z.string().meta({ example: 'producers' }),
    description: z.string(),
    statements: z.array(z.string()).meta({ description: 'As they were written.', example: EXAMPLE }),
    lifecycleState: z.enum(['ACTIVE']),
    timeCreated: time('When the policy was created.'),
    timeUpdated: time('When the policy was last changed.'),
  })
  .meta({ id: 'Policy' });
export type PolicyBody = z.infer<typeof policy>;

export const policyCollection = z.object({ items: z.array(policy) }).meta({ id: 'PolicyCollection' });
export type PolicyCollection = z.infer<typeof policyCollection>;

/** Those that routes need. */
const PERMISSION_TYPES = ['queues', 'queue-push', 'queue-pull', 'consumer-groups', 'identity', 'policies'] as const;

export const explainAccessDetails = z
  .object({
    userId: identifier({ description: 'Whose access.', example: 'ocid1.user.oc1.local.amaaaaaaexample' }),
    operation: text(1, 100, {
      description: 'An operation by its name in this description. Or give verb and resourceType.',
      example: 'putMessages',
    }).optional(),
    verb: oneOf(VERBS, { description: 'With resourceType, instead of an operation.' }).optional(),
    resourceType: oneOf(PERMISSION_TYPES, { description: 'With verb, instead of an operation.' }).optional(),
    queueId: identifier({ description: 'On this queue. Or give compartmentId.' }).optional(),
    compartmentId: identifier({
      description: 'On what is in this compartment, of no particular queue; conditions on queues do not hold then.',
    }).optional(),
  })
  .meta({
    id: 'ExplainAccessDetails',
    example: {
      userId: 'ocid1.user.oc1.local.amaaaaaaexample',
      operation: 'putMessages',
      queueId: 'ocid1.queue.oc1.local.amaaaaaaexample',
    },
  });
export type ExplainAccessDetails = z.infer<typeof explainAccessDetails>;

export const accessExplanation = z
  .object({
    isAllowed: z.boolean().meta({ description: 'Whether the user may.' }),
    permission: z.string().meta({ description: 'What the operation needs.', example: 'use queue-push' }),
    compartmentId: z.string().meta({ description: 'Where it needs that.' }),
    statements: z
      .array(
        z
          .object({
            policyId: z.string().meta({ example: 'ocid1.policy.oc1.local.amaaaaaaexample' }),
            policyName: z.string().meta({ example: 'producers' }),
            statement: z.string().meta({ example: EXAMPLE[0] }),
          })
          .meta({ id: 'AllowingStatement' }),
      )
      .meta({ description: 'The statements that allow it, of which one is enough; none: it is denied.' }),
  })
  .meta({ id: 'AccessExplanation' });
export type AccessExplanation = z.infer<typeof accessExplanation>;
