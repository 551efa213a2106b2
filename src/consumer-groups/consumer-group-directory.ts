import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { ConsumerGroupFunctions, type ConsumerGroup } from '../database/consumer-group-functions.js';
import { Notifications } from '../database/notifications.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { RecentlyFound } from '../queues/recently-found.js';

/** The number by which the message functions know the primary group of every queue. */
export const PRIMARY_GROUP = 0;

/**
 * Finds the consumer group that a caller names. What it knows may be a moment old, so it serves for the number only,
 * which never changes; whether the group is active is read in SQL.
 */
@Injectable()
export class ConsumerGroupDirectory implements OnApplicationShutdown {
  private readonly known: RecentlyFound<ConsumerGroup>;

  constructor(functions: ConsumerGroupFunctions, notifications: Notifications) {
    this.known = new RecentlyFound('consumer-group', notifications, (tenancyId, id) => functions.find(tenancyId, id));
  }

  /** The number of the group; absent: of the primary one. Throws NotAuthorizedOrNotFound for one of another queue. */
  async find(caller: Caller, queue: Queue, id: string | undefined): Promise<number> {
    if (id === undefined) return PRIMARY_GROUP;
    const group = await this.known.find(caller.tenancyId, id);
    if (group.queueNumber !== queue.queueId || ['DELETING', 'DELETED'].includes(group.lifecycleState)) {
      throw new ServiceError('NotAuthorizedOrNotFound', 'consumerGroupId: the queue has no such consumer group');
    }
    return group.number;
  }

  /** Everybody forgets what they know of this group, because it was changed. */
  changed(id: string): Promise<void> {
    return this.known.changed(id);
  }

  onApplicationShutdown(): void {
    this.known.close();
  }
}
