import { toServiceError } from '../errors/catalogue.js';
import type { Caller } from '../identity/caller.js';
import type { Durability } from '../messages/durability.js';
import type { MessageDetails, PreparedPut } from '../messages/puts.service.js';
import { withPatience } from './patience.js';
import type { SessionServices } from './session-services.js';

/** One SEND on its way. Exactly one of `stored` and `failed` is called, unless a SEND before it has failed. */
export interface Send {
  readonly caller: Caller;
  /** The queue's OCID; with /dlq where somebody tries that. */
  readonly reference: string;
  readonly message: MessageDetails;
  readonly bytes: number;
  readonly stored: (durability: Durability) => void;
  readonly failed: (error: unknown) => void;
}

/** What one statement stores at most. */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;
/** What a connection may have under way before it is not read any more. */
const WINDOW_MESSAGES = 1000;
const WINDOW_BYTES = 2 * MAX_BYTES;

/**
 * The SENDs of one connection, in their order. One put is under way at a time; meanwhile the next SENDs gather, and those that
 * follow each other and go to the same queue are stored by one statement. So whoever sends without waiting for each
 * receipt pays for few commits, and whoever waits for each pays for nothing.
 */
export class SendLane {
  /** How many SENDs were taken, and how many of them are stored. */
  taken = 0;
  stored = 0;
  private readonly waiting: Send[] = [];
  private readonly prepared = new Map<Send, PreparedPut>();
  private heldBytes = 0;
  private running: Promise<void> | null = null;
  private hasFailed = false;
  private madeRoom: (() => void) | null = null;

  constructor(
    private readonly services: SessionServices,
    private readonly progressed: () => void,
  ) {}

  /** Of the bodies that wait or are being stored. */
  get bytes(): number {
    return this.heldBytes;
  }

  /** Takes a SEND; `start` stores it. */
  add(send: Send): void {
    if (this.hasFailed) return;
    this.taken += 1;
    this.waiting.push(send);
    this.heldBytes += send.bytes;
  }

  /** Undefined: there is room for more. Else resolves once there is. */
  room(): Promise<void> | undefined {
    if (this.hasRoom) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.madeRoom = resolve;
    return promise;
  }

  start(): void {
    if (this.running !== null || this.waiting.length === 0) return;
    this.running = this.run().finally(() => {
      this.running = null;
    });
  }

  /** Resolves once nothing is under way. */
  async idle(): Promise<void> {
    this.start();
    await this.running;
  }

  private get hasRoom(): boolean {
    return this.hasFailed || (this.waiting.length < WINDOW_MESSAGES && this.heldBytes < WINDOW_BYTES);
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      const [first] = this.waiting;
      if (first === undefined) break;
      try {
        const batch = await this.nextBatch(first);
        await this.store(batch);
      } catch (error) {
        // Whatever it was, it is about the first that is not stored.
        this.fail(this.waiting[0] ?? first, error);
      }
    }
  }

  /** The SENDs at the head that one statement can store. Throws what is wrong with the first. */
  private async nextBatch(first: Send): Promise<Send[]> {
    const { queue } = await this.prepare(first);
    const batch = [first];
    let bytes = first.bytes;
    for (const send of this.waiting.slice(1, MAX_MESSAGES)) {
      bytes += send.bytes;
      // What is wrong with a later one is told when it is the first.
      const next = bytes > MAX_BYTES ? null : await this.prepare(send).catch(() => null);
      if (next?.queue.queueId !== queue.queueId) break;
      batch.push(send);
    }
    return batch;
  }

  private async prepare(send: Send): Promise<PreparedPut> {
    const known = this.prepared.get(send);
    if (known !== undefined) return known;
    const prepared = await this.services.puts.prepare(send.caller, send.reference, [send.message]);
    this.prepared.set(send, prepared);
    return prepared;
  }

  private async store(batch: readonly Send[]): Promise<void> {
    let durability: Durability;
    try {
      durability = await this.put(batch);
    } catch (error) {
      // Refused, so nothing of it is stored: one by one the good ones before the bad one are.
      if (batch.length === 1 || !isRefusal(error)) throw error;
      for (const send of batch) {
        this.finish([send], await this.put([send]));
      }
      return;
    }
    this.finish(batch, durability);
  }

  private async put(batch: readonly Send[]): Promise<Durability> {
    const prepared = batch.map((send) => this.prepared.get(send)).filter((each) => each !== undefined);
    const [first] = prepared;
    if (first === undefined) throw new Error('a SEND was not prepared');
    const messages = prepared.flatMap((each) => each.messages);
    await withPatience(() => {
      this.services.figures.puts += 1;
      return this.services.puts.putPrepared(first.queue, messages, null);
    });
    return first.queue.durability;
  }

  private finish(batch: readonly Send[], durability: Durability): void {
    this.waiting.splice(0, batch.length);
    this.stored += batch.length;
    for (const send of batch) {
      this.prepared.delete(send);
      this.heldBytes -= send.bytes;
      send.stored(durability);
    }
    this.progressed();
    this.tellRoom();
  }

  /** Those after it are not stored: it is as if they had not been read. */
  private fail(send: Send, error: unknown): void {
    this.hasFailed = true;
    this.waiting.length = 0;
    this.prepared.clear();
    this.heldBytes = 0;
    send.failed(error);
    this.progressed();
    this.tellRoom();
  }

  private tellRoom(): void {
    if (!this.hasRoom) return;
    this.madeRoom?.();
    this.madeRoom = null;
  }
}

/** The service said no and has changed nothing. */
function isRefusal(error: unknown): boolean {
  return toServiceError(error).status < 500;
}
