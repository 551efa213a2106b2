import { Injectable } from '@nestjs/common';
import { QueueFunctions, type WorkRequest } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { isIdentifier } from '../rest/fields.js';
import { API_VERSION } from '../rest/operation.js';
import { PageTokens } from '../rest/page-token.js';
import type { WorkRequestBody } from './work-request.schemas.js';
import { WorkRequestRunner } from './work-request-runner.js';

const DEFAULT_LIMIT = 100;

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
    private readonly runner: WorkRequestRunner,
    private readonly pages: PageTokens,
  ) {}

  async get(caller: Caller, id: string): Promise<WorkRequestBody> {
    return toBody(await this.find(caller, id));
  }

  /** Ends a redrive; what it moved stays moved. Throws IncorrectState where it has finished or is something else. */
  async cancel(caller: Caller, id: string): Promise<void> {
    const request = await this.functions.cancelWorkRequest(caller, checked(id));
    // Whoever was at it may be gone.
    this.runner.run(request.id);
  }

  /** Newest first. */
  async list(
    caller: Caller,
    query: PageQuery & { readonly compartmentId?: string | undefined; readonly workRequestId?: string | undefined },
  ): Promise<Page<WorkRequestBody>> {
    if (query.compartmentId !== undefined) await this.functions.checkCompartment(caller.tenancyId, query.compartmentId);
    const page = await this.page('work requests', query, (position, limit) =>
      this.functions.listWorkRequests(caller.tenancyId, query, position, limit),
    );
    return { ...page, items: page.items.map(toBody) };
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

  private async find(caller: Caller, id: string): Promise<WorkRequest> {
    return this.functions.findWorkRequest(caller.tenancyId, checked(id));
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
