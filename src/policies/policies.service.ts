import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { PolicyFunctions, type Policy } from '../database/policy-functions.js';
import { QueueFunctions } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { declaredRoutes, type Permission } from '../identity/permission.js';
import { unquoted } from '../rest/conditions.js';
import { isIdentifier } from '../rest/fields.js';
import { PageTokens } from '../rest/page-token.js';
import { Access } from './access.js';
import { permittedPage } from './permitted-page.js';
import type {
  AccessExplanation,
  CreatePolicyDetails,
  ExplainAccessDetails,
  PolicyBody,
  PolicyCollection,
  UpdatePolicyDetails,
} from './policy.schemas.js';
import { parseStatement, PolicySyntaxError, type Statement } from './policy-syntax.js';
import { isOfTenancy } from './resource-types.js';
import type { Target } from './tenancy-policies.js';

const DEFAULT_LIMIT = 100;
/** As page tokens name it. */
const LIST = 'policies';

export interface ListPoliciesQuery {
  readonly compartmentId?: string | undefined;
  readonly name?: string | undefined;
  readonly limit?: number | undefined;
  readonly page?: string | undefined;
}

interface WithEtag {
  readonly body: PolicyBody;
  readonly etag: string;
}

/** Policies as they are managed. What they allow from then on is for `Access`, which the database tells of every change. */
@Injectable()
export class PoliciesService {
  private permissions: ReadonlyMap<string, Permission> | null = null;

  constructor(
    private readonly functions: PolicyFunctions,
    private readonly queues: QueueFunctions,
    private readonly access: Access,
    private readonly pages: PageTokens,
    private readonly module: ModuleRef,
  ) {}

  /** Throws InvalidParameter (statement, name taken), NotAuthorizedOrNotFound (compartment), LimitExceeded. */
  async create(caller: Caller, details: CreatePolicyDetails): Promise<WithEtag> {
    const { compartmentId, name, description, statements } = details;
    await this.access.checkCompartment(caller, { compartmentId });
    const parsed = parseAll(statements);
    return withEtag(
      await this.functions.create(caller, {
        compartmentId,
        name,
        description: description ?? null,
        statements,
        parsed,
      }),
    );
  }

  /** Throws NotAuthorizedOrNotFound. */
  async get(caller: Caller, id: string): Promise<WithEtag> {
    return withEtag(await this.find(caller, id));
  }

  /** What the caller may see of them. Throws NotAuthorizedOrNotFound for a compartment in which that is nothing. */
  async list(
    caller: Caller,
    query: ListPoliciesQuery,
  ): Promise<{ readonly body: PolicyCollection; readonly nextPage: string | null }> {
    const limit = query.limit ?? DEFAULT_LIMIT;
    const position = this.pages.decode(LIST, query.page);
    const { items, next } = await permittedPage<Policy, string>({
      may: await this.access.filterOf(caller, query.compartmentId, targetOf),
      after: position === null ? null : String(position[0]),
      cursorOf: ({ name }) => name,
      limit,
      read: (after, count) => this.functions.list(caller.tenancyId, query, after, count),
    });
    return { body: { items: items.map(toBody) }, nextPage: next === null ? null : this.pages.encode(LIST, [next]) };
  }

  /** Throws InvalidParameter, NotAuthorizedOrNotFound, IncorrectState (the one of Administrators), NoEtagMatch. */
  async update(
    caller: Caller,
    id: string,
    changes: UpdatePolicyDetails,
    ifMatch: string | undefined,
  ): Promise<WithEtag> {
    await this.find(caller, id);
    const { name = null, description = null, statements = null } = changes;
    const parsed = statements === null ? null : parseAll(statements);
    const changed = { name, description, statements, parsed };
    return withEtag(await this.functions.update(caller, id, changed, unquoted(ifMatch)));
  }

  /** Throws NotAuthorizedOrNotFound, IncorrectState (the one of Administrators), NoEtagMatch. */
  async delete(caller: Caller, id: string, ifMatch: string | undefined): Promise<void> {
    await this.find(caller, id);
    await this.functions.delete(caller, id, unquoted(ifMatch));
  }

  /** Whether a user may, and by which statements. Throws NotAuthorizedOrNotFound (user, queue, compartment), InvalidParameter. */
  async explain(caller: Caller, details: ExplainAccessDetails): Promise<AccessExplanation> {
    // Groups and policies of the whole tenancy show in the answer.
    if (!(await this.access.may(caller, { compartmentId: caller.tenancyId }))) {
      throw new ServiceError('NotAuthorizedOrNotFound', 'there is no such resource, or you may not use it');
    }
    const permission = this.permissionOf(details);
    const target = await this.targetOf(caller, details, permission);
    await this.functions.checkUser(caller.tenancyId, details.userId);
    const { rules, compartmentExists } = await this.access.explain(
      caller.tenancyId,
      details.userId,
      permission,
      target,
    );
    if (!compartmentExists) {
      throw new ServiceError(
        'NotAuthorizedOrNotFound',
        `compartment ${target.compartmentId} does not exist or you may not use it`,
      );
    }
    return {
      isAllowed: rules.length > 0,
      permission,
      compartmentId: target.compartmentId,
      statements: rules.map(({ policyId, policyName, text }) => ({ policyId, policyName, statement: text })),
    };
  }

  private permissionOf({ operation, verb, resourceType }: ExplainAccessDetails): Permission {
    if (operation === undefined) {
      if (verb !== undefined && resourceType !== undefined) return `${verb} ${resourceType}`;
      throw new ServiceError('MissingParameter', 'operation is missing: give it, or verb and resourceType');
    }
    if (verb !== undefined || resourceType !== undefined) {
      throw new ServiceError('InvalidParameter', 'operation: give it, or verb and resourceType, but not both');
    }
    // Not before the first question: the routes are all there then.
    this.permissions ??= new Map(
      declaredRoutes(this.module).flatMap((route) =>
        route.operation === null || route.permission === null ? [] : [[route.operation, route.permission]],
      ),
    );
    const permission = this.permissions.get(operation);
    if (permission === undefined) {
      throw new ServiceError(
        'InvalidParameter',
        'operation: there is none of this name that needs a permission; /docs lists them',
      );
    }
    return permission;
  }

  private async targetOf(caller: Caller, details: ExplainAccessDetails, permission: Permission): Promise<Target> {
    const { queueId, compartmentId } = details;
    if (queueId !== undefined && compartmentId !== undefined) {
      throw new ServiceError('InvalidParameter', 'queueId: give it, or compartmentId, but not both');
    }
    if (isOfTenancy(permission)) return { compartmentId: caller.tenancyId };
    if (compartmentId !== undefined) return { compartmentId };
    if (queueId === undefined) {
      throw new ServiceError('MissingParameter', 'queueId is missing: give it, or compartmentId');
    }
    const queue = await this.queues.find(caller.tenancyId, queueId.replace(/\/dlq$/, ''));
    return { compartmentId: queue.compartmentId, queue };
  }

  /** Throws NotAuthorizedOrNotFound where there is none, and the very same where the caller is not permitted. */
  private async find(caller: Caller, id: string): Promise<Policy> {
    // What cannot be an identifier is not looked for, and not shown to PostgreSQL.
    if (!isIdentifier(id)) {
      throw new ServiceError('NotAuthorizedOrNotFound', 'the policy does not exist or you may not see it');
    }
    const policy = await this.functions.find(caller.tenancyId, id);
    if (await this.access.may(caller, targetOf(policy))) return policy;
    // Worded as towpath.find_policy does.
    throw new ServiceError('NotAuthorizedOrNotFound', `policy ${id} does not exist or you may not see it`);
  }
}

function targetOf({ compartmentId }: Policy): Target {
  return { compartmentId };
}

/** Throws InvalidParameter with the place in the statement that cannot be read. */
function parseAll(statements: readonly string[]): Statement[] {
  return statements.map((statement, index) => {
    try {
      return parseStatement(statement);
    } catch (error) {
      if (!(error instanceof PolicySyntaxError)) throw error;
      throw new ServiceError('InvalidParameter', `statements[${index}]: ${error.message}`, { cause: error });
    }
  });
}

function withEtag(policy: Policy): WithEtag {
  return { body: toBody(policy), etag: String(policy.version) };
}

function toBody(policy: Policy): PolicyBody {
  return {
    id: policy.id,
    compartmentId: policy.compartmentId,
    name: policy.name,
    description: policy.description,
    statements: [...policy.statements],
    lifecycleState: 'ACTIVE',
    timeCreated: policy.timeCreated.toISOString(),
    timeUpdated: policy.timeUpdated.toISOString(),
  };
}
