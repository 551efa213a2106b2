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
/** Queues of one name that are looked at: two tell that it is ambiguous, and some may be on their way out. */
const MAX_NAMESAKES = 20;

/**
 * Finds the queue that a caller names, if the caller has the permission of its request there. What it knows of queues may
 * be a moment old, so it serves the pod's own decisions only (who may, the default polling timeout, limits); every rule of
 * the queue reads the row in SQL.
 */
@Injectable()
export class QueueDirectory implements OnApplicationShutdown {
  private readonly known: RecentlyFound<Queue>;

  constructor(
    private readonly functions: QueueFunctions,
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

  /**
   * The OCID of the only queue of this name that the caller may use; `compartmentId` undefined: in any compartment of the
   * caller's tenancy. Throws NotAuthorizedOrNotFound where there is none, InvalidParameter where there are several.
   */
  async findByName(caller: Caller, displayName: string, compartmentId: string | undefined): Promise<string> {
    const queues = await this.functions.list({
      tenancyId: caller.tenancyId,
      compartmentId,
      displayName,
      sortBy: 'displayName',
      ascending: true,
      after: null,
      limit: MAX_NAMESAKES,
    });
    const permitted: Queue[] = [];
    for (const queue of queues) {
      if (queue.lifecycleState !== 'DELETING' && (await this.access.mayUse(caller, queue))) permitted.push(queue);
    }
    const [queue, other] = permitted;
    if (queue === undefined) {
      throw new ServiceError(
        'NotAuthorizedOrNotFound',
        `there is no queue named ${displayName}, or you may not use it`,
      );
    }
    if (other !== undefined) {
      throw new ServiceError(
        'InvalidParameter',
        `there are several queues named ${displayName}: name the one that you mean by its OCID`,
      );
    }
    return queue.id;
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
