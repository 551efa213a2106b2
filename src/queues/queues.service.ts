import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { QueueFunctions, type ListQueuesRequest, type Queue, type WorkRequest } from '../database/queue-functions.js';
import type { Caller } from '../identity/caller.js';
import { checkedRetryToken, unquoted } from '../rest/conditions.js';
import { Access } from '../policies/access.js';
import { permittedPage } from '../policies/permitted-page.js';
import type { Target } from '../policies/tenancy-policies.js';
import { PageTokens } from '../rest/page-token.js';
import { WorkRequestRunner } from '../work-requests/work-request-runner.js';
import { missingQueue, QueueDirectory } from './queue-directory.js';
import { PublicEndpoint } from '../config/public-endpoint.js';
import type { QueueBody, QueueCollection } from './queue.schemas.js';

const DEFAULT_LIMIT = 100;

export interface ListQueuesQuery {
  readonly compartmentId?: string | undefined;
  readonly lifecycleState?: string | undefined;
  readonly displayName?: string | undefined;
  readonly id?: string | undefined;
  readonly sortBy?: 'timeCreated' | 'displayName' | undefined;
  readonly sortOrder?: 'ASC' | 'DESC' | undefined;
  readonly limit?: number | undefined;
  readonly page?: string | undefined;
}

type Listed = Queue & { readonly cursorKey: string };

interface NewQueue {
  readonly compartmentId: string;
  readonly displayName: string;
}

/** The control plane's queue operations. Every change answers with a work request. */
@Injectable()
export class QueuesService {
  constructor(
    private readonly functions: QueueFunctions,
    private readonly directory: QueueDirectory,
    private readonly access: Access,
    private readonly runner: WorkRequestRunner,
    private readonly pages: PageTokens,
    private readonly endpoint: PublicEndpoint,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /** Throws NotAuthorizedOrNotFound (compartment), InvalidatedRetryToken, LimitExceeded. */
  async create(caller: Caller, details: NewQueue, retryToken: string | undefined): Promise<WorkRequest> {
    const { compartmentId, displayName } = details;
    await this.access.checkCompartment(caller, { compartmentId, queue: { displayName } });
    return this.functions.create(caller, details, checkedRetryToken(retryToken), this.configuration.maxTenancyQueues);
  }

  /** The queue and its ETag. Throws NotAuthorizedOrNotFound. */
  async get(caller: Caller, id: string): Promise<{ body: QueueBody; etag: string }> {
    const queue = await this.functions.find(caller.tenancyId, await this.existing(caller, id));
    return { body: this.toBody(queue), etag: String(queue.version) };
  }

  /** What the caller may see of them. Throws NotAuthorizedOrNotFound for a compartment in which that is nothing. */
  async list(caller: Caller, query: ListQueuesQuery): Promise<{ body: QueueCollection; nextPage: string | null }> {
    const sortBy = query.sortBy ?? 'timeCreated';
    const ascending = query.sortOrder === undefined ? sortBy === 'displayName' : query.sortOrder === 'ASC';
    const may = await this.access.filterOf(caller, query.compartmentId, targetOf);
    const limit = query.limit ?? DEFAULT_LIMIT;
    const list = `queues by ${sortBy} ${ascending ? 'up' : 'down'}`;
    const position = this.pages.decode(list, query.page);
    const { items, next } = await permittedPage<Listed, NonNullable<ListQueuesRequest['after']>>({
      may,
      after: position === null ? null : { key: String(position[0]), queueId: Number(position[1]) },
      cursorOf: ({ cursorKey, queueId }) => ({ key: cursorKey, queueId }),
      limit,
      read: (after, count) =>
        this.functions.list({
          tenancyId: caller.tenancyId,
          compartmentId: query.compartmentId,
          lifecycleState: query.lifecycleState,
          displayName: query.displayName,
          id: query.id,
          sortBy,
          ascending,
          after,
          limit: count,
        }),
    });
    return {
      body: { items: items.map((queue) => this.toSummary(queue)) },
      nextPage: next === null ? null : this.pages.encode(list, [next.key, next.queueId]),
    };
  }

  /** Throws NotAuthorizedOrNotFound, IncorrectState, NoEtagMatch. So do the operations below. */
  async update(
    caller: Caller,
    id: string,
    changes: { readonly displayName?: string | undefined },
    ifMatch: string | undefined,
  ): Promise<WorkRequest> {
    const { id: queueId, compartmentId } = await this.directory.findQueue(caller, id);
    if (changes.displayName !== undefined) {
      // Policies may go by the name: nobody gives a queue one under which they could not use it.
      const renamed = targetOf({ compartmentId, id: queueId, displayName: changes.displayName });
      if (!(await this.access.may(caller, renamed))) throw missingQueue(queueId);
    }
    const request = await this.functions.update(caller, queueId, changes, unquoted(ifMatch));
    await this.directory.changed(queueId);
    return request;
  }

  async changeCompartment(
    caller: Caller,
    id: string,
    compartmentId: string,
    ifMatch: string | undefined,
  ): Promise<WorkRequest> {
    const { id: queueId, displayName } = await this.directory.findQueue(caller, id);
    await this.access.checkCompartment(caller, targetOf({ compartmentId, id: queueId, displayName }));
    const request = await this.functions.changeCompartment(caller, queueId, compartmentId, unquoted(ifMatch));
    await this.directory.changed(queueId);
    return request;
  }

  async purge(caller: Caller, id: string, details: object, ifMatch: string | undefined): Promise<WorkRequest> {
    const queueId = await this.existing(caller, id);
    const request = await this.functions.purge(caller, queueId, details, unquoted(ifMatch));
    await this.directory.changed(queueId);
    this.runner.run(request.id, () => this.directory.changed(queueId));
    return request;
  }

  async delete(caller: Caller, id: string, ifMatch: string | undefined): Promise<WorkRequest> {
    const queueId = await this.existing(caller, id);
    const request = await this.functions.delete(caller, queueId, unquoted(ifMatch));
    await this.directory.changed(queueId);
    this.runner.run(request.id, () => this.directory.changed(queueId));
    return request;
  }

  /** What is put from now on is sealed with another data key, made by the next put. */
  async rotateDataKey(caller: Caller, id: string, ifMatch: string | undefined): Promise<WorkRequest> {
    const queueId = await this.existing(caller, id);
    return this.functions.rotateDataKey(caller, queueId, unquoted(ifMatch));
  }

  private async existing(caller: Caller, id: string): Promise<string> {
    return (await this.directory.findQueue(caller, id)).id;
  }

  private common(queue: Queue): Omit<QueueCollection['items'][number], 'capabilities'> {
    return {
      id: queue.id,
      displayName: queue.displayName,
      compartmentId: queue.compartmentId,
      timeCreated: queue.timeCreated.toISOString(),
      timeUpdated: queue.timeUpdated.toISOString(),
      lifecycleState: queue.lifecycleState as QueueBody['lifecycleState'],
      ...(queue.lifecycleDetails === null ? {} : { lifecycleDetails: queue.lifecycleDetails }),
      messagesEndpoint: this.endpoint.url,
      freeformTags: queue.freeformTags,
      definedTags: queue.definedTags,
      systemTags: {},
    };
  }

  private toBody(queue: Queue): QueueBody {
    return {
      ...this.common(queue),
      retentionInSeconds: queue.retentionInSeconds,
      visibilityInSeconds: queue.visibilityInSeconds,
      timeoutInSeconds: queue.timeoutInSeconds,
      channelConsumptionLimit: queue.channelConsumptionLimit,
      deadLetterQueueDeliveryCount: queue.deadLetterQueueDeliveryCount,
      ...(queue.customEncryptionKeyId === null ? {} : { customEncryptionKeyId: queue.customEncryptionKeyId }),
      deduplicationWindowInSeconds: queue.deduplicationWindowInSeconds,
      acceptUnsealed: queue.acceptUnsealed,
      durability: queue.durability,
      capabilities: [...queue.capabilities] as QueueBody['capabilities'],
    };
  }

  private toSummary(queue: Queue): QueueCollection['items'][number] {
    return { ...this.common(queue), capabilities: queue.capabilities.map(({ type }) => type) };
  }
}

function targetOf(queue: Pick<Queue, 'compartmentId' | 'id' | 'displayName'>): Target {
  return { compartmentId: queue.compartmentId, queue };
}
