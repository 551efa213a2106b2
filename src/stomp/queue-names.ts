import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import type { QueueDirectory } from '../queues/queue-directory.js';
import type { Destination } from './destination.js';

/** How long a name is believed to mean the queue that it meant. */
const FRESH_FOR_MS = 5000;
const MAX_NAMES = 100;

interface Found {
  readonly id: string;
  readonly until: number;
}

/** What the destinations of one connection mean: names of queues are for people, and looked up among the caller's queues. */
export class QueueNames {
  private readonly known = new Map<string, Found>();
  /** Names are of queues in this compartment; undefined: in any of the tenancy. */
  compartmentId: string | undefined;

  constructor(
    private readonly directory: QueueDirectory,
    private readonly isStrict: boolean,
  ) {}

  /** What services know the queue by. Throws, or fails with, NotAuthorizedOrNotFound or InvalidParameter. */
  referenceOf(caller: Caller, { queue, deadLetter }: Destination): string | Promise<string> {
    const suffix = deadLetter ? '/dlq' : '';
    if ('id' in queue) return queue.id + suffix;
    const { displayName } = queue;
    const known = this.known.get(displayName);
    if (known !== undefined && known.until > performance.now()) return known.id + suffix;
    return this.find(caller, displayName).then((id) => id + suffix);
  }

  private async find(caller: Caller, displayName: string): Promise<string> {
    if (this.isStrict) {
      throw new ServiceError(
        'InvalidParameter',
        'destination: name the queue by its OCID, since this service is strict as OCI Queue is (TOWPATH_STOMP_STRICT)',
      );
    }
    const id = await this.directory.findByName(caller, displayName, this.compartmentId);
    if (this.known.size >= MAX_NAMES) this.known.clear();
    this.known.set(displayName, { id, until: performance.now() + FRESH_FOR_MS });
    return id;
  }
}
