import { Injectable } from '@nestjs/common';
import { contextOf, type CallerContext } from './caller-context.js';
import { Database } from './database.js';
import type { CompartmentRow, UserRow } from './identity-functions.js';
import { one } from './queue-functions.js';

export interface GroupRow {
  readonly id: string;
  readonly tenancy_id: string;
  readonly name: string;
  readonly time_created: Date;
}

export interface GroupMemberRow {
  readonly user_id: string;
  readonly name: string;
  readonly time_created: Date;
}

/** What may be said of a new credential. `expiresAt` is RFC 3339. */
export interface CredentialDetails {
  readonly description?: string | undefined;
  readonly expiresAt?: string | undefined;
}

/** What all credentials have; none shows a secret. */
export interface ManagedCredentialRow {
  readonly tenancy_id: string;
  readonly user_id: string;
  readonly description: string | null;
  readonly time_created: Date;
  readonly expires_at: Date | null;
  /** Up to five minutes too old. */
  readonly last_used_at: Date | null;
}

export interface ManagedSigningKeyRow extends ManagedCredentialRow {
  readonly fingerprint: string;
}

export interface ManagedApiKeyRow extends ManagedCredentialRow {
  readonly id: string;
  readonly prefix: string;
}

export interface ManagedAuthTokenRow extends ManagedCredentialRow {
  readonly id: string;
}

export interface ListRequest {
  readonly tenancyId: string;
  readonly name?: string | undefined;
  readonly limit: number;
}

const NAMED = 'id, tenancy_id, name, time_created';
const COMPARTMENT = 'id, tenancy_id, parent_id, name, time_created';
const COMMON = 'tenancy_id, user_id, description, time_created, expires_at, last_used_at';
const SIGNING_KEY = `${COMMON}, fingerprint`;
const API_KEY = `${COMMON}, id, prefix`;
const AUTH_TOKEN = `${COMMON}, id`;

/**
 * The only typed calls of the SQL functions of migrations/0018_identity.sql that manage identities. What they refuse is
 * thrown as PostgreSQL's error with our own SQLSTATE, which `toServiceError` translates.
 */
@Injectable()
export class IdentityAdminFunctions {
  constructor(private readonly database: Database) {}

  /** In a parent of the same tenancy. TP404 parent, TP400 name taken, TP4LE too deep. */
  async createCompartment(caller: CallerContext, parentId: string, name: string): Promise<CompartmentRow> {
    return one(await this.change<CompartmentRow>(caller, COMPARTMENT, 'create_compartment', [parentId, name]));
  }

  /** TP404. */
  async findCompartment(tenancyId: string, id: string): Promise<CompartmentRow> {
    return one(await this.call<CompartmentRow>(COMPARTMENT, 'find_compartment', [tenancyId, id]));
  }

  /** By name and id. */
  async listCompartments(
    request: ListRequest & {
      readonly parentId?: string | undefined;
      readonly after: { readonly name: string; readonly id: string } | null;
    },
  ): Promise<CompartmentRow[]> {
    const { tenancyId, parentId = null, name = null, after, limit } = request;
    const values = [tenancyId, parentId, name, after?.name ?? null, after?.id ?? null, limit];
    return this.call<CompartmentRow>(COMPARTMENT, 'list_compartments', values);
  }

  /** TP404, TP400 name taken, TP409 root. */
  async renameCompartment(caller: CallerContext, id: string, name: string): Promise<CompartmentRow> {
    return one(await this.change<CompartmentRow>(caller, COMPARTMENT, 'rename_compartment', [id, name]));
  }

  /** TP404, TP409 not empty, or root. */
  async deleteCompartment(caller: CallerContext, id: string): Promise<void> {
    await this.change(caller, '', 'delete_compartment', [id]);
  }

  /** TP400 name taken. */
  async createUser(caller: CallerContext, name: string): Promise<UserRow> {
    return one(await this.change<UserRow>(caller, NAMED, 'create_user', [name]));
  }

  /** TP404. */
  async findUser(tenancyId: string, id: string): Promise<UserRow> {
    return one(await this.call<UserRow>(NAMED, 'find_user', [tenancyId, id]));
  }

  /** By name, which is unique. */
  async listUsers(request: ListRequest & { readonly afterName: string | null }): Promise<UserRow[]> {
    const { tenancyId, name = null, afterName, limit } = request;
    return this.call<UserRow>(NAMED, 'list_users', [tenancyId, name, afterName, limit]);
  }

  /** With credentials and memberships. TP404, TP409 the last administrator. */
  async deleteUser(caller: CallerContext, id: string): Promise<void> {
    await this.change(caller, '', 'delete_user', [id]);
  }

  /** TP400 name taken. */
  async createGroup(caller: CallerContext, name: string): Promise<GroupRow> {
    return one(await this.change<GroupRow>(caller, NAMED, 'create_group', [name]));
  }

  /** TP404. */
  async findGroup(tenancyId: string, id: string): Promise<GroupRow> {
    return one(await this.call<GroupRow>(NAMED, 'find_group', [tenancyId, id]));
  }

  /** By name, which is unique; with `userId` those that this user is in. */
  async listGroups(
    request: ListRequest & { readonly userId?: string | undefined; readonly afterName: string | null },
  ): Promise<GroupRow[]> {
    const { tenancyId, name = null, userId = null, afterName, limit } = request;
    return this.call<GroupRow>(NAMED, 'list_groups', [tenancyId, name, userId, afterName, limit]);
  }

  /** TP404, TP409 Administrators, or something refers to it. */
  async deleteGroup(caller: CallerContext, id: string): Promise<void> {
    await this.change(caller, '', 'delete_group', [id]);
  }

  /** Does nothing where the user is in it already. TP404 group, user. */
  async addGroupMember(caller: CallerContext, groupId: string, userId: string): Promise<void> {
    await this.change(caller, '', 'add_group_member', [groupId, userId]);
  }

  /** TP404, TP409 the last administrator. */
  async removeGroupMember(caller: CallerContext, groupId: string, userId: string): Promise<void> {
    await this.change(caller, '', 'remove_group_member', [groupId, userId]);
  }

  /** By the user's id. TP404 group. */
  async listGroupMembers(
    tenancyId: string,
    groupId: string,
    afterId: string | null,
    limit: number,
  ): Promise<GroupMemberRow[]> {
    const values = [tenancyId, groupId, afterId, limit];
    return this.call<GroupMemberRow>('user_id, name, time_created', 'list_group_members', values);
  }

  /** TP404 user, TP400 there already or expired, TP4LE too many. */
  async createSigningKey(
    caller: CallerContext,
    userId: string,
    { fingerprint, publicKey }: { readonly fingerprint: string; readonly publicKey: string },
    { description = null, expiresAt = null }: Nullable<CredentialDetails>,
  ): Promise<ManagedSigningKeyRow> {
    const values = [userId, fingerprint, publicKey, description, expiresAt];
    return one(await this.change<ManagedSigningKeyRow>(caller, SIGNING_KEY, 'create_signing_key', values));
  }

  /** The oldest first. TP404 user. */
  async listSigningKeys(tenancyId: string, userId: string): Promise<ManagedSigningKeyRow[]> {
    return this.call<ManagedSigningKeyRow>(SIGNING_KEY, 'list_signing_keys', [tenancyId, userId]);
  }

  /** TP404, TP409 the last way in. */
  async deleteSigningKey(caller: CallerContext, userId: string, fingerprint: string): Promise<void> {
    await this.change(caller, '', 'delete_signing_key', [userId, fingerprint]);
  }

  /** TP404 user, TP400 expired, TP4LE too many. */
  async createApiKey(
    caller: CallerContext,
    userId: string,
    { prefix, digest }: { readonly prefix: string; readonly digest: Buffer },
    { description = null, expiresAt = null }: Nullable<CredentialDetails>,
  ): Promise<ManagedApiKeyRow> {
    const values = [userId, prefix, digest, description, expiresAt];
    return one(await this.change<ManagedApiKeyRow>(caller, API_KEY, 'create_api_key', values));
  }

  /** The oldest first. TP404 user. */
  async listApiKeys(tenancyId: string, userId: string): Promise<ManagedApiKeyRow[]> {
    return this.call<ManagedApiKeyRow>(API_KEY, 'list_api_keys', [tenancyId, userId]);
  }

  /** TP404, TP409 the last way in. */
  async deleteApiKey(caller: CallerContext, userId: string, id: string): Promise<void> {
    await this.change(caller, '', 'delete_api_key', [userId, id]);
  }

  /** With the names that make the login. TP404 user, TP400 expired, TP4LE too many. */
  async createAuthToken(
    caller: CallerContext,
    userId: string,
    digest: Buffer,
    { description = null, expiresAt = null }: Nullable<CredentialDetails>,
  ): Promise<ManagedAuthTokenRow & { readonly login: string }> {
    const login = `(
      select t.name || '/' || u.name
      from towpath.user_account u
      join towpath.tenancy t on t.id = u.tenancy_id
      where u.id = create_auth_token.user_id
    ) as login`;
    const values = [userId, digest, description, expiresAt];
    return one(
      await this.change<ManagedAuthTokenRow & { login: string }>(
        caller,
        `${AUTH_TOKEN}, ${login}`,
        'create_auth_token',
        values,
      ),
    );
  }

  /** The oldest first. TP404 user. */
  async listAuthTokens(tenancyId: string, userId: string): Promise<ManagedAuthTokenRow[]> {
    return this.call<ManagedAuthTokenRow>(AUTH_TOKEN, 'list_auth_tokens', [tenancyId, userId]);
  }

  /** TP404. */
  async deleteAuthToken(caller: CallerContext, userId: string, id: string): Promise<void> {
    await this.change(caller, '', 'delete_auth_token', [userId, id]);
  }

  /** The first argument is the caller's tenancy, and the audit log names the caller. */
  private change<Row extends object>(
    caller: CallerContext,
    columns: string,
    name: string,
    values: readonly unknown[],
  ): Promise<Row[]> {
    const places = values.map((_, index) => `, $${index + 3}`).join('');
    return this.database.run<Row>(
      {
        name: `admin ${name}`,
        text: `select ${columns} from towpath.${name}(towpath.as_caller($1::jsonb, $2::text)${places})`,
      },
      [contextOf(caller), caller.tenancyId, ...values],
    );
  }

  /** Columns by name, so that a column that a later migration adds does not spoil what is prepared. */
  private call<Row extends object>(columns: string, name: string, values: readonly unknown[]): Promise<Row[]> {
    const places = values.map((_, index) => `$${index + 1}`).join(', ');
    return this.database.run<Row>(
      { name: `admin ${name}`, text: `select ${columns} from towpath.${name}(${places})` },
      values,
    );
  }
}

type Nullable<Fields> = { readonly [Field in keyof Fields]?: Fields[Field] | null };
