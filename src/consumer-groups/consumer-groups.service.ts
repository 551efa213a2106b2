import { Injectable } from '@nestjs/common';
import { ConsumerGroupFunctions, type ConsumerGroup } from '../database/consumer-group-functions.js';
import type { WorkRequest } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { checkedRetryToken, unquoted } from '../rest/conditions.js';
import { isIdentifier } from '../rest/fields.js';
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

interface WithFilter {
  readonly filter?: string | undefined;
}

/** The control plane's operations on consumer groups. Every change answers with a work request. */
@Injectable()
export class ConsumerGroupsService {
  constructor(
    private readonly functions: ConsumerGroupFunctions,
    private readonly directory: ConsumerGroupDirectory,
    private readonly runner: WorkRequestRunner,
    private readonly pages: PageTokens,
  ) {}

  /** Throws InvalidParameter (filter, name taken), NotAuthorizedOrNotFound (queue), IncorrectState (no capability). */
  create(caller: Caller, details: WithFilter, retryToken: string | undefined): Promise<WorkRequest> {
    return this.functions.create(caller, details, compileFilter(details.filter), checkedRetryToken(retryToken));
  }

  /** The group and its ETag. Throws NotAuthorizedOrNotFound. */
  async get(caller: Caller, id: string): Promise<{ body: ConsumerGroupBody; etag: string }> {
    const group = await this.functions.find(caller.tenancyId, checked(id));
    const { deadLetterQueueDeliveryCount } = group;
    return {
      body: { ...toSummary(group), ...(deadLetterQueueDeliveryCount === null ? {} : { deadLetterQueueDeliveryCount }) },
      etag: String(group.version),
    };
  }

  async list(
    caller: Caller,
    query: ListConsumerGroupsQuery,
  ): Promise<{ body: ConsumerGroupCollection; nextPage: string | null }> {
    const sortBy = query.sortBy ?? 'timeCreated';
    const ascending = query.sortOrder === undefined ? sortBy === 'displayName' : query.sortOrder === 'ASC';
    const limit = query.limit ?? DEFAULT_LIMIT;
    const list = `consumer groups by ${sortBy} ${ascending ? 'up' : 'down'}`;
    const position = this.pages.decode(list, query.page);
    const found = await this.functions.list({
      ...query,
      tenancyId: caller.tenancyId,
      sortBy,
      ascending,
      after:
        position === null
          ? null
          : { key: String(position[0]), queueNumber: Number(position[1]), number: Number(position[2]) },
      limit: limit + 1,
    });
    const items = found.slice(0, limit);
    const last = items.at(-1);
    return {
      body: { items: items.map(toSummary) },
      nextPage:
        found.length > limit && last !== undefined
          ? this.pages.encode(list, [last.cursorKey, last.queueNumber, last.number])
          : null,
    };
  }

  /** Throws InvalidParameter, NotAuthorizedOrNotFound, IncorrectState, NoEtagMatch. */
  async update(caller: Caller, id: string, changes: WithFilter, ifMatch: string | undefined): Promise<WorkRequest> {
    const request = await this.functions.update(
      caller,
      checked(id),
      changes,
      compileFilter(changes.filter),
      unquoted(ifMatch),
    );
    await this.directory.changed(id);
    return request;
  }

  /** Throws NotAuthorizedOrNotFound, IncorrectState (the primary group), NoEtagMatch. */
  async delete(caller: Caller, id: string, ifMatch: string | undefined): Promise<WorkRequest> {
    const request = await this.functions.delete(caller, checked(id), unquoted(ifMatch));
    await this.directory.changed(id);
    this.runner.run(request.id, () => this.directory.changed(id));
    return request;
  }
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
