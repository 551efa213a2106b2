import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { Caller } from '../identity/caller.js';
import { Notifications } from '../database/notifications.js';
import { QueueFunctions, type Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Permission } from '../identity/permission.js';
import { Access } from '../policies/access.js';
import { RecentlyFound } from './recently-found.js';

/** What a path's queue id names: a queue, or its dead letter queue. */
export interface QueueReference {
  readonly queue: Queue;
  readonly deadLetter: boolean;
}

const DEAD_LETTER_SUFFIX = '/dlq';

/**
 * Finds the queue that a caller names, if the caller has the permission of its request there. What it knows of queues may be a moment old, so it serves the pod's own
 * decisions only (who may, the default polling timeout, limits); every rule of the queue reads the row in SQL.
 */
@Injectable()
export class QueueDirectory implements OnApplicationShutdown {
  private readonly known: RecentlyFound<Queue>;

  constructor(
    functions: QueueFunctions,
    notifications: Notifications,
    private readonly access: Access,
  ) {
    this.known = new RecentlyFound('queue', notifications, (tenancyId, id) => functions.find(tenancyId, id));
  }

  /** Throws NotAuthorizedOrNotFound where the caller's tenancy has no such queue, and the very same where it is not permitted. */
  async find(caller: Caller, reference: string): Promise<QueueReference> {
    const deadLetter = reference.endsWith(DEAD_LETTER_SUFFIX);
    const id = deadLetter ? reference.slice(0, -DEAD_LETTER_SUFFIX.length) : reference;
    const queue = await this.known.find(caller.tenancyId, id);
    const may = this.access.mayUse(caller, queue);
    if (may !== true && !(await may)) throw missingQueue(id);
    return { queue, deadLetter };
  }

  /** As `find`, for operations that a dead letter queue does not have. */
  async findQueue(caller: Caller, reference: string): Promise<Queue> {
    const { queue, deadLetter } = await this.find(caller, reference);
    if (deadLetter) {
      throw new ServiceError(
        'InvalidParameter',
        'queueId: this operation is not for a dead letter queue; leave out /dlq',
      );
    }
    return queue;
  }

  /** As `findQueue`, for a second queue of a request, which needs another permission. */
  findOther(caller: Caller, reference: string, permission: Permission): Promise<Queue> {
    return this.findQueue({ ...caller, permission }, reference);
  }

  /** Everybody forgets what they know of this queue, because it was changed. */
  changed(id: string): Promise<void> {
    return this.known.changed(id);
  }

  onApplicationShutdown(): void {
    this.known.close();
  }
}

/** Worded as towpath.find_queue does. */
export function missingQueue(id: string): ServiceError {
  return new ServiceError('NotAuthorizedOrNotFound', `queue ${id} does not exist or you may not see it`);
}
