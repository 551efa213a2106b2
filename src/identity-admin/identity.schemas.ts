import { z } from 'zod';
import { identifier, page, text } from '../rest/fields.js';

/** The request and response bodies of compartments, users and groups. */

const NAME = /^[A-Za-z0-9._-]{1,100}$/;
const USER_NAME = /^[A-Za-z0-9._@+/-]{1,255}$/;

const named = (pattern: RegExp, error: string, description: string, example: string): z.ZodString =>
  z.string({ error }).regex(pattern, { error }).meta({ description, example });
const NAME_ERROR = 'must have 1 to 100 of the characters A-Z a-z 0-9 . _ -';
const compartmentName = named(NAME, NAME_ERROR, 'Unique in its parent.', 'orders');
const groupName = named(NAME, NAME_ERROR, 'Unique in the tenancy.', 'Consumers');
const userName = named(
  USER_NAME,
  'must have 1 to 255 of the characters A-Z a-z 0-9 . _ @ + / -',
  'Unique in the tenancy; with the name of the tenancy before it the login on STOMP.',
  'ana@example.com',
);

/** What a list may be asked for by its exact name. Names made in SQL may be any. */
const byName = text(1, 255, { description: 'Only the one with exactly this name.' }).optional();

export const createCompartmentDetails = z
  .object({
    name: compartmentName,
    compartmentId: identifier({
      description: 'The OCID of the compartment that it lies in; absent: the root. It may lie 6 levels deep.',
      example: 'ocid1.compartment.oc1.local.amaaaaaaexample',
    }).optional(),
  })
  .meta({
    id: 'CreateCompartmentDetails',
    example: { name: 'orders', compartmentId: 'ocid1.compartment.oc1.local.amaaaaaaexample' },
  });

export const updateCompartmentDetails = z
  .object({ name: compartmentName })
  .meta({ id: 'UpdateCompartmentDetails', example: { name: 'invoices' } });

export const createUserDetails = z
  .object({ name: userName })
  .meta({ id: 'CreateUserDetails', example: { name: 'ana@example.com' } });

export const createGroupDetails = z
  .object({ name: groupName })
  .meta({ id: 'CreateGroupDetails', example: { name: 'Consumers' } });

export const listCompartmentsQuery = z.object({
  compartmentId: identifier({
    description: 'Only those that lie right in this one; absent: all of the tenancy, the root too.',
  }).optional(),
  name: byName,
  ...page,
});
export const listUsersQuery = z.object({ name: byName, ...page });
export const listGroupsQuery = z.object({
  name: byName,
  userId: identifier({ description: 'Only those that this user is in.' }).optional(),
  ...page,
});
export const listGroupMembersQuery = z.object(page);

export const time = (description: string): z.ZodString =>
  z.string().meta({ description, format: 'date-time', example: '2026-11-22T10:26:16.123Z' });
const ocid = (description: string, type: string): z.ZodString =>
  z.string().meta({ description, example: `ocid1.${type}.oc1.local.amaaaaaaexample` });
export const userId = ocid('The OCID of the user.', 'user');
const tenancyId = ocid('The OCID of the tenancy.', 'tenancy');

export const compartment = z
  .object({
    id: ocid('The OCID of the compartment; of the root it is that of the tenancy.', 'compartment'),
    compartmentId: ocid('The OCID of the compartment that it lies in; absent of the root.', 'compartment').optional(),
    name: z.string().meta({ description: 'Unique in its parent.', example: 'orders' }),
    timeCreated: time('When it was created.'),
  })
  .meta({ id: 'Compartment' });
export type CompartmentBody = z.infer<typeof compartment>;
export const compartmentCollection = z.object({ items: z.array(compartment) }).meta({ id: 'CompartmentCollection' });

export const user = z
  .object({
    id: userId,
    tenancyId,
    name: z.string().meta({ description: 'Unique in the tenancy.', example: 'ana@example.com' }),
    timeCreated: time('When it was created.'),
  })
  .meta({ id: 'User' });
export type UserBody = z.infer<typeof user>;
export const userCollection = z.object({ items: z.array(user) }).meta({ id: 'UserCollection' });

export const group = z
  .object({
    id: ocid('The OCID of the group.', 'group'),
    tenancyId,
    name: z.string().meta({ description: 'Unique in the tenancy.', example: 'Consumers' }),
    timeCreated: time('When it was created.'),
  })
  .meta({ id: 'Group' });
export type GroupBody = z.infer<typeof group>;
export const groupCollection = z.object({ items: z.array(group) }).meta({ id: 'GroupCollection' });

export const groupMember = z
  .object({
    userId,
    name: z.string().meta({ description: 'The name of the user.', example: 'ana@example.com' }),
    timeCreated: time('When the user was put into the group.'),
  })
  .meta({ id: 'GroupMember' });
export type GroupMemberBody = z.infer<typeof groupMember>;
export const groupMemberCollection = z.object({ items: z.array(groupMember) }).meta({ id: 'GroupMemberCollection' });

/** A page of a list. */
export interface Page<Item> {
  readonly body: { items: Item[] };
  readonly nextPage: string | null;
}
