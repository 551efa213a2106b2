import { Injectable } from '@nestjs/common';
import { IdentityAdminFunctions, type GroupMemberRow, type GroupRow } from '../database/identity-admin-functions.js';
import type { CompartmentRow, UserRow } from '../database/identity-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { isIdentifier } from '../rest/fields.js';
import { PageTokens } from '../rest/page-token.js';
import type { CompartmentBody, GroupBody, GroupMemberBody, Page, UserBody } from './identity.schemas.js';

const DEFAULT_LIMIT = 100;

export interface ListQuery {
  readonly name?: string | undefined;
  readonly limit?: number | undefined;
  readonly page?: string | undefined;
}

/**
 * Compartments, users and groups of the caller's tenancy. What belongs to another one does not exist: every method that
 * takes an id throws NotAuthorizedOrNotFound then.
 */
@Injectable()
export class IdentityService {
  constructor(
    private readonly functions: IdentityAdminFunctions,
    private readonly pages: PageTokens,
  ) {}

  /** Throws InvalidParameter where the name is taken, LimitExceeded where it would lie too deep. */
  async createCompartment(
    caller: Caller,
    details: { readonly name: string; readonly compartmentId?: string | undefined },
  ): Promise<CompartmentBody> {
    const parentId = details.compartmentId ?? caller.tenancyId;
    return toCompartment(await this.functions.createCompartment(caller, parentId, details.name));
  }

  async getCompartment(caller: Caller, id: string): Promise<CompartmentBody> {
    return toCompartment(await this.functions.findCompartment(caller.tenancyId, existing('compartment', id)));
  }

  async listCompartments(
    caller: Caller,
    query: ListQuery & { readonly compartmentId?: string | undefined },
  ): Promise<Page<CompartmentBody>> {
    const { tenancyId } = caller;
    const { compartmentId: parentId, name } = query;
    if (parentId !== undefined) await this.functions.findCompartment(tenancyId, parentId);
    return this.page(
      `compartments ${parentId ?? ''}`,
      query,
      (after, limit) =>
        this.functions.listCompartments({
          tenancyId,
          parentId,
          name,
          after: after === null ? null : { name: after[0] ?? '', id: after[1] ?? '' },
          limit,
        }),
      (row) => [row.name, row.id],
      toCompartment,
    );
  }

  /** Throws InvalidParameter where the name is taken, IncorrectState for the root. */
  async renameCompartment(caller: Caller, id: string, name: string): Promise<CompartmentBody> {
    return toCompartment(await this.functions.renameCompartment(caller, existing('compartment', id), name));
  }

  /** Throws IncorrectState where something is in it, and for the root. */
  async deleteCompartment(caller: Caller, id: string): Promise<void> {
    await this.functions.deleteCompartment(caller, existing('compartment', id));
  }

  /** Throws InvalidParameter where the name is taken. */
  async createUser(caller: Caller, name: string): Promise<UserBody> {
    return toNamed(await this.functions.createUser(caller, name));
  }

  async getUser(caller: Caller, id: string): Promise<UserBody> {
    return toNamed(await this.functions.findUser(caller.tenancyId, existing('user', id)));
  }

  async listUsers({ tenancyId }: Caller, query: ListQuery): Promise<Page<UserBody>> {
    const { name } = query;
    return this.page(
      'users',
      query,
      (after, limit) => this.functions.listUsers({ tenancyId, name, afterName: after?.[0] ?? null, limit }),
      (row) => [row.name],
      toNamed,
    );
  }

  /** With credentials and memberships. Throws IncorrectState for the last administrator who can sign in. */
  async deleteUser(caller: Caller, id: string): Promise<void> {
    await this.functions.deleteUser(caller, existing('user', id));
  }

  /** Throws InvalidParameter where the name is taken. */
  async createGroup(caller: Caller, name: string): Promise<GroupBody> {
    return toNamed(await this.functions.createGroup(caller, name));
  }

  async getGroup(caller: Caller, id: string): Promise<GroupBody> {
    return toNamed(await this.functions.findGroup(caller.tenancyId, existing('group', id)));
  }

  async listGroups(
    { tenancyId }: Caller,
    query: ListQuery & { readonly userId?: string | undefined },
  ): Promise<Page<GroupBody>> {
    const { name, userId } = query;
    if (userId !== undefined) await this.functions.findUser(tenancyId, userId);
    return this.page(
      `groups ${userId ?? ''}`,
      query,
      (after, limit) => this.functions.listGroups({ tenancyId, name, userId, afterName: after?.[0] ?? null, limit }),
      (row) => [row.name],
      toNamed,
    );
  }

  /** Throws IncorrectState for the group Administrators, and where something refers to the group. */
  async deleteGroup(caller: Caller, id: string): Promise<void> {
    await this.functions.deleteGroup(caller, existing('group', id));
  }

  async listGroupMembers({ tenancyId }: Caller, id: string, query: ListQuery): Promise<Page<GroupMemberBody>> {
    const groupId = existing('group', id);
    return this.page(
      `members ${groupId}`,
      query,
      (after, limit) => this.functions.listGroupMembers(tenancyId, groupId, after?.[0] ?? null, limit),
      (row) => [row.user_id],
      toMember,
    );
  }

  /** Does nothing where the user is in it already. */
  async addGroupMember(caller: Caller, groupId: string, userId: string): Promise<void> {
    await this.functions.addGroupMember(caller, existing('group', groupId), existing('user', userId));
  }

  /** Throws IncorrectState for the last administrator who can sign in. */
  async removeGroupMember(caller: Caller, groupId: string, userId: string): Promise<void> {
    await this.functions.removeGroupMember(caller, existing('group', groupId), existing('user', userId));
  }

  private async page<Row, Item>(
    list: string,
    query: ListQuery,
    read: (after: string[] | null, limit: number) => Promise<Row[]>,
    placeOf: (row: Row) => string[],
    toItem: (row: Row) => Item,
  ): Promise<Page<Item>> {
    const limit = query.limit ?? DEFAULT_LIMIT;
    const after = this.pages.decode(list, query.page)?.map(String) ?? null;
    const found = await read(after, limit + 1);
    const rows = found.slice(0, limit);
    const last = rows.at(-1);
    return {
      body: { items: rows.map(toItem) },
      nextPage: found.length > limit && last !== undefined ? this.pages.encode(list, placeOf(last)) : null,
    };
  }
}

/** What cannot be an identifier is not looked for, and not shown to PostgreSQL. */
export function existing(kind: string, id: string): string {
  if (isIdentifier(id)) return id;
  throw new ServiceError('NotAuthorizedOrNotFound', `the ${kind} does not exist or you may not use it`);
}

function toCompartment(row: CompartmentRow): CompartmentBody {
  return {
    id: row.id,
    ...(row.parent_id === null ? {} : { compartmentId: row.parent_id }),
    name: row.name,
    timeCreated: row.time_created.toISOString(),
  };
}

function toNamed(row: UserRow | GroupRow): UserBody & GroupBody {
  return { id: row.id, tenancyId: row.tenancy_id, name: row.name, timeCreated: row.time_created.toISOString() };
}

function toMember(row: GroupMemberRow): GroupMemberBody {
  return { userId: row.user_id, name: row.name, timeCreated: row.time_created.toISOString() };
}
