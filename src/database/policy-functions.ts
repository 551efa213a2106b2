import { Injectable } from '@nestjs/common';
import { contextOf, type CallerContext } from './caller-context.js';
import { Database } from './database.js';
import { one } from './queue-functions.js';

/** A policy as the database has it. */
export interface Policy {
  readonly id: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly description: string;
  readonly statements: readonly string[];
  readonly timeCreated: Date;
  readonly timeUpdated: Date;
  readonly version: number;
}

/** What pods evaluate. The parsed statements are of unknown shape here: src/policies/policy-syntax.ts has made them. */
export interface PoliciesOfTenancy {
  /** Null: there is no such tenancy. */
  readonly version: number | null;
  /** These two are null where the version is the known one. */
  readonly compartments:
    readonly { readonly id: string; readonly parentId: string | null; readonly name: string }[] | null;
  readonly policies:
    | readonly {
        readonly id: string;
        readonly name: string;
        readonly compartmentId: string;
        readonly statements: readonly string[];
        readonly parsed: readonly unknown[];
      }[]
    | null;
}

export interface PolicyDetails {
  readonly compartmentId: string;
  readonly name: string;
  readonly description: string | null;
  readonly statements: readonly string[];
  readonly parsed: readonly object[];
}

/** What is null stays as it is; statements come with what was parsed from them. */
export interface PolicyChanges {
  readonly name: string | null;
  readonly description: string | null;
  readonly statements: readonly string[] | null;
  readonly parsed: readonly object[] | null;
}

const POLICY = `p.id, p.compartment_id as "compartmentId", p.name, p.description, p.statements,
  p.time_created as "timeCreated", p.time_updated as "timeUpdated", p.version`;

const LOAD = {
  name: 'load_policies',
  text: 'select version, compartments, policies from towpath.load_policies($1, $2)',
};
const GROUPS = { name: 'groups_of_user', text: 'select id, name from towpath.groups_of_user($1, $2)' };
const GROUPS_NAMED = { name: 'groups_named', text: 'select id, name from towpath.groups_named($1, $2)' };
const CHECK_USER = { name: 'check_user', text: 'select from towpath.check_user($1, $2)' };
const FIND = { name: 'find_policy', text: `select ${POLICY} from towpath.find_policy($1, $2) p` };
const LIST = {
  name: 'list_policies',
  text: `select ${POLICY} from towpath.list_policies($1, $2, $3, $4, $5) p order by p.name`,
};
const CREATE = {
  name: 'create_policy',
  text: `select ${POLICY} from towpath.create_policy(towpath.as_caller($7::jsonb, $1::text), $2, $3, $4, $5, $6) p`,
};
const UPDATE = {
  name: 'update_policy',
  text: `select ${POLICY} from towpath.update_policy(towpath.as_caller($8::jsonb, $1::text), $2, $3, $4, $5, $6, $7) p`,
};
const DELETE = {
  name: 'delete_policy',
  text: 'select from towpath.delete_policy(towpath.as_caller($4::jsonb, $1::text), $2, $3)',
};

/** The SQL functions of policies, each called from here only. */
@Injectable()
export class PolicyFunctions {
  constructor(private readonly database: Database) {}

  /** The policies of a tenancy, or only their version where that is the known one. */
  async load(tenancyId: string, knownVersion: number | null): Promise<PoliciesOfTenancy> {
    return one(await this.database.run<PoliciesOfTenancy & object>(LOAD, [tenancyId, knownVersion]));
  }

  async groupsOfUser(tenancyId: string, userId: string): Promise<{ readonly id: string; readonly name: string }[]> {
    return this.database.run<{ id: string; name: string }>(GROUPS, [tenancyId, userId]);
  }

  /** Those of the named groups that there are. */
  async groupsNamed(
    tenancyId: string,
    names: readonly string[],
  ): Promise<{ readonly id: string; readonly name: string }[]> {
    return this.database.run<{ id: string; name: string }>(GROUPS_NAMED, [tenancyId, names]);
  }

  /** TP404 where the tenancy has no such user. */
  async checkUser(tenancyId: string, userId: string): Promise<void> {
    await this.database.run(CHECK_USER, [tenancyId, userId]);
  }

  async find(tenancyId: string, id: string): Promise<Policy> {
    return one(await this.database.run<Policy>(FIND, [tenancyId, id]));
  }

  /** By name, after the name `after`. */
  async list(
    tenancyId: string,
    filter: { readonly compartmentId?: string | undefined; readonly name?: string | undefined },
    after: string | null,
    limit: number,
  ): Promise<Policy[]> {
    const values = [tenancyId, filter.compartmentId ?? null, filter.name ?? null, after, limit];
    return this.database.run<Policy>(LIST, values);
  }

  async create(caller: CallerContext, details: PolicyDetails): Promise<Policy> {
    const { compartmentId, name, description, statements, parsed } = details;
    const values = [
      caller.tenancyId,
      compartmentId,
      name,
      description,
      statements,
      JSON.stringify(parsed),
      contextOf(caller),
    ];
    return one(await this.database.run<Policy>(CREATE, values));
  }

  async update(caller: CallerContext, id: string, changes: PolicyChanges, ifMatch: string | null): Promise<Policy> {
    const { name, description, statements, parsed } = changes;
    const json = parsed === null ? null : JSON.stringify(parsed);
    const values = [caller.tenancyId, id, name, description, statements, json, ifMatch, contextOf(caller)];
    return one(await this.database.run<Policy>(UPDATE, values));
  }

  async delete(caller: CallerContext, id: string, ifMatch: string | null): Promise<void> {
    await this.database.run(DELETE, [caller.tenancyId, id, ifMatch, contextOf(caller)]);
  }
}
