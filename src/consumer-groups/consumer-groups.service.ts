import { Injectable } from '@nestjs/common';
import {
  ConsumerGroupFunctions,
  type ConsumerGroup,
  type ListConsumerGroupsRequest,
} from '../database/consumer-group-functions.js';
import type { WorkRequest } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { checkedRetryToken, unquoted } from '../rest/conditions.js';
import { isIdentifier } from '../rest/fields.js';
import { Access } from '../policies/access.js';
import { permittedPage } from '../policies/permitted-page.js';
import type { Target } from '../policies/tenancy-policies.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import { PageTokens } from '../rest/page-token.js';
import { WorkRequestRunner } from '../work-requests/work-request-runner.js';
import type { ConsumerGroupBody, ConsumerGroupCollection } from './consumer-group.schemas.js';
import { ConsumerGroupDirectory } from './consumer-group-directory.js';
import { compileFilter } from './filter/compile-filter.js';

const DEFAULT_LIMIT = 100;

export interface ListConsumerGroupsQuery {
  readonly queueId?: string | undefined;
  readonly lifecycleState?: string | undefined;
  readonly displayName?: string | undefined;
  readonly id?: string | undefined;
  readonly sortBy?: 'timeCreated' | 'displayName' | undefined;
  readonly sortOrder?: 'ASC' | 'DESC' | undefined;
  readonly limit?: number | undefined;
  readonly page?: string | undefined;
}

type Listed = ConsumerGroup & { readonly cursorKey: string };

interface WithFilter {
  readonly filter?: string | undefined;
}
interface NewGroup extends WithFilter {
  readonly queueId: string;
}

/** The control plane's operations on consumer groups. Every change answers with a work request. */
@Injectable()
export class ConsumerGroupsService {
  constructor(
    private readonly functions: ConsumerGroupFunctions,
    private readonly directory: ConsumerGroupDirectory,
    private readonly queues: QueueDirectory,
    private readonly access: Access,
    private readonly runner: WorkRequestRunner,
    private readonly pages: PageTokens,
  ) {}

  /** Throws InvalidParameter (filter, name taken), NotAuthorizedOrNotFound (queue), IncorrectState (no capability). */
  async create(caller: Caller, details: NewGroup, retryToken: string | undefined): Promise<WorkRequest> {
    const filterPath = compileFilter(details.filter);
    const token = checkedRetryToken(retryToken);
    await this.queues.findQueue(caller, details.queueId);
    return this.functions.create(caller, details, filterPath, token);
  }

  /** The group and its ETag. Throws NotAuthorizedOrNotFound. */
  async get(caller: Caller, id: string): Promise<{ body: ConsumerGroupBody; etag: string }> {
    const group = await this.find(caller, id);
    const { deadLetterQueueDeliveryCount } = group;
    return {
      body: { ...toSummary(group), ...(deadLetterQueueDeliveryCount === null ? {} : { deadLetterQueueDeliveryCount }) },
      etag: String(group.version),
    };
  }

  /** What the caller may see of them. Throws NotAuthorizedOrNotFound (queue). */
  async list(
    caller: Caller,
    query: ListConsumerGroupsQuery,
  ): Promise<{ body: ConsumerGroupCollection; nextPage: string | null }> {
    const sortBy = query.sortBy ?? 'timeCreated';
    const ascending = query.sortOrder === undefined ? sortBy === 'displayName' : query.sortOrder === 'ASC';
    const limit = query.limit ?? DEFAULT_LIMIT;
    const list = `consumer groups by ${sortBy} ${ascending ? 'up' : 'down'}`;
    const position = this.pages.decode(list, query.page);
    if (query.queueId !== undefined) await this.queues.findQueue(caller, query.queueId);
    const { items, next } = await permittedPage<Listed, NonNullable<ListConsumerGroupsRequest['after']>>({
      may: await this.access.filterOf(caller, undefined, targetOf),
      after:
        position === null
          ? null
          : { key: String(position[0]), queueNumber: Number(position[1]), number: Number(position[2]) },
      cursorOf: ({ cursorKey, queueNumber, number }) => ({ key: cursorKey, queueNumber, number }),
      limit,
      read: (after, count) =>
        this.functions.list({ ...query, tenancyId: caller.tenancyId, sortBy, ascending, after, limit: count }),
    });
    return {
      body: { items: items.map(toSummary) },
      nextPage: next === null ? null : this.pages.encode(list, [next.key, next.queueNumber, next.number]),
    };
  }

  /** Throws InvalidParameter, NotAuthorizedOrNotFound, IncorrectState, NoEtagMatch. */
  async update(caller: Caller, id: string, changes: WithFilter, ifMatch: string | undefined): Promise<WorkRequest> {
    const filterPath = compileFilter(changes.filter);
    await this.find(caller, id);
    const request = await this.functions.update(caller, id, changes, filterPath, unquoted(ifMatch));
    await this.directory.changed(id);
    return request;
  }

  /** Throws NotAuthorizedOrNotFound, IncorrectState (the primary group), NoEtagMatch. */
  async delete(caller: Caller, id: string, ifMatch: string | undefined): Promise<WorkRequest> {
    await this.find(caller, id);
    const request = await this.functions.delete(caller, id, unquoted(ifMatch));
    await this.directory.changed(id);
    this.runner.run(request.id, () => this.directory.changed(id));
    return request;
  }

  /** Throws NotAuthorizedOrNotFound where there is none, and the very same where the caller is not permitted. */
  private async find(caller: Caller, id: string): Promise<ConsumerGroup> {
    const group = await this.functions.find(caller.tenancyId, checked(id));
    if (await this.access.may(caller, targetOf(group))) return group;
    // Worded as towpath.find_consumer_group does.
    throw new ServiceError('NotAuthorizedOrNotFound', `consumer group ${id} does not exist or you may not see it`);
  }
}

function targetOf({ compartmentId, queueId, queueName }: ConsumerGroup): Target {
  return { compartmentId, queue: { id: queueId, displayName: queueName } };
}

/** What cannot be an identifier is not looked for, and not shown to PostgreSQL. */
function checked(id: string): string {
  if (isIdentifier(id)) return id;
  throw new ServiceError('NotAuthorizedOrNotFound', 'the consumer group does not exist or you may not use it');
}

function toSummary(group: ConsumerGroup): ConsumerGroupCollection['items'][number] {
  return {
    id: group.id,
    displayName: group.displayName,
    queueId: group.queueId,
    lifecycleState: group.lifecycleState as ConsumerGroupBody['lifecycleState'],
    ...(group.lifecycleDetails === null ? {} : { lifecycleDetails: group.lifecycleDetails }),
    filter: group.filter,
    timeCreated: group.timeCreated.toISOString(),
    timeUpdated: group.timeUpdated.toISOString(),
    freeformTags: group.freeformTags,
    definedTags: group.definedTags,
    systemTags: {},
  };
}
