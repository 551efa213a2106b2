import { Injectable } from '@nestjs/common';
import { QueueFunctions, type FoundWorkRequest, type WorkRequest } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import type { Permission } from '../identity/permission.js';
import { Access } from '../policies/access.js';
import { permittedPage } from '../policies/permitted-page.js';
import type { Target } from '../policies/tenancy-policies.js';
import { isIdentifier } from '../rest/fields.js';
import { API_VERSION } from '../rest/operation.js';
import { PageTokens } from '../rest/page-token.js';
import type { WorkRequestBody } from './work-request.schemas.js';
import { WorkRequestRunner } from './work-request-runner.js';

const DEFAULT_LIMIT = 100;
/** As page tokens name it. */
const LIST = 'work requests';

export interface PageQuery {
  readonly limit?: number | undefined;
  readonly page?: string | undefined;
}

export interface Page<Item> {
  readonly items: Item[];
  readonly nextPage: string | null;
}

/** Reads work requests, and cancels redrives. Every method throws NotAuthorizedOrNotFound where the caller's tenancy has no such one. */
@Injectable()
export class WorkRequestsService {
  constructor(
    private readonly functions: QueueFunctions,
    private readonly access: Access,
    private readonly runner: WorkRequestRunner,
    private readonly pages: PageTokens,
  ) {}

  async get(caller: Caller, id: string): Promise<WorkRequestBody> {
    return toBody(await this.find(caller, id));
  }

  /** Ends a redrive; what it moved stays moved. Throws IncorrectState where it has finished or is something else. */
  async cancel(caller: Caller, id: string): Promise<void> {
    await this.find(caller, id, 'use');
    const request = await this.functions.cancelWorkRequest(caller, id);
    // Whoever was at it may be gone.
    this.runner.run(request.id);
  }

  /** What the caller may see of them, newest first. Throws NotAuthorizedOrNotFound for a compartment in which that is nothing. */
  async list(
    caller: Caller,
    query: PageQuery & { readonly compartmentId?: string | undefined; readonly workRequestId?: string | undefined },
  ): Promise<Page<WorkRequestBody>> {
    const limit = query.limit ?? DEFAULT_LIMIT;
    const position = this.pages.decode(LIST, query.page);
    const { items, next } = await permittedPage<FoundWorkRequest, number>({
      may: await this.access.filterOf(caller, query.compartmentId, targetOf, (request) =>
        permissionFor('inspect', request),
      ),
      after: position === null ? null : Number(position[0]),
      cursorOf: ({ number }) => number,
      limit,
      read: (before, count) => this.functions.listWorkRequests(caller.tenancyId, query, before, count),
    });
    return { items: items.map(toBody), nextPage: next === null ? null : this.pages.encode(LIST, [next]) };
  }

  async errors(
    caller: Caller,
    id: string,
    query: PageQuery,
  ): Promise<Page<{ code: string; message: string; timestamp: string }>> {
    const { number } = await this.find(caller, id);
    const page = await this.page(`errors of ${id}`, query, async (position, limit) =>
      (await this.functions.listWorkRequestErrors(number, position ?? 0, limit)).map((row) => ({
        ...row,
        number: row.id,
      })),
    );
    return {
      ...page,
      items: page.items.map(({ code, message, timestamp }) => ({ code, message, timestamp: timestamp.toISOString() })),
    };
  }

  async logs(caller: Caller, id: string, query: PageQuery): Promise<Page<{ message: string; timestamp: string }>> {
    const { number } = await this.find(caller, id);
    const page = await this.page(`logs of ${id}`, query, async (position, limit) =>
      (await this.functions.listWorkRequestLogs(number, position ?? 0, limit)).map((row) => ({
        ...row,
        number: row.id,
      })),
    );
    return {
      ...page,
      items: page.items.map(({ message, timestamp }) => ({ message, timestamp: timestamp.toISOString() })),
    };
  }

  /** Throws NotAuthorizedOrNotFound where there is none, and the very same where the caller is not permitted. */
  private async find(caller: Caller, id: string, verb: 'read' | 'use' = 'read'): Promise<WorkRequest> {
    const request = await this.functions.findWorkRequest(caller.tenancyId, checked(id));
    if (await this.access.may(caller, targetOf(request), permissionFor(verb, request))) return request;
    // Worded as towpath.find_work_request does.
    throw new ServiceError('NotAuthorizedOrNotFound', `work request ${id} does not exist or you may not see it`);
  }

  private async page<Item extends { readonly number: number }>(
    list: string,
    query: PageQuery,
    read: (position: number | null, limit: number) => Promise<Item[]>,
  ): Promise<Page<Item>> {
    const limit = query.limit ?? DEFAULT_LIMIT;
    const position = this.pages.decode(list, query.page);
    const found = await read(position === null ? null : Number(position[0]), limit + 1);
    const items = found.slice(0, limit);
    const last = items.at(-1);
    return {
      items,
      nextPage: found.length > limit && last !== undefined ? this.pages.encode(list, [last.number]) : null,
    };
  }
}

function targetOf(request: FoundWorkRequest): Target {
  const { compartmentId, entityType, identifier, queueId, queueName } = request;
  // Kept for longer than its queue, which it may still be known by.
  const id = entityType === 'QUEUE' ? identifier : (queueId ?? undefined);
  return { compartmentId, queue: { id, displayName: queueName ?? undefined } };
}

/** Whoever may work with consumer groups only may follow what becomes of them. Without a request the weaker one. */
function permissionFor(verb: 'inspect' | 'read' | 'use', request?: FoundWorkRequest): Permission {
  return `${verb} ${request?.entityType === 'QUEUE' ? 'queues' : 'consumer-groups'}`;
}

/** What cannot be an identifier is not looked for, and not shown to PostgreSQL. */
function checked(id: string): string {
  if (isIdentifier(id)) return id;
  throw new ServiceError('NotAuthorizedOrNotFound', 'the work request does not exist or you may not see it');
}

function toBody(request: WorkRequest): WorkRequestBody {
  return {
    operationType: request.operationType as WorkRequestBody['operationType'],
    status: request.status as WorkRequestBody['status'],
    id: request.id,
    compartmentId: request.compartmentId,
    resources: [
      {
        entityType: request.entityType,
        actionType: request.actionType as WorkRequestBody['resources'][number]['actionType'],
        identifier: request.identifier,
        entityUri: `/${API_VERSION}/${request.entityType === 'QUEUE' ? 'queues' : 'consumerGroups'}/${request.identifier}`,
      },
    ],
    percentComplete: request.percentComplete,
    timeAccepted: request.timeAccepted.toISOString(),
    ...(request.timeStarted === null ? {} : { timeStarted: request.timeStarted.toISOString() }),
    ...(request.timeFinished === null ? {} : { timeFinished: request.timeFinished.toISOString() }),
    ...(request.redrive === null ? {} : { redrive: request.redrive }),
  };
}
