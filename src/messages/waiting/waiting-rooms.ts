import { Injectable } from '@nestjs/common';
import { MessageFunctions, type DeliveredMessage } from '../../database/message-functions.js';
import type { Hold } from '../../memory/memory-budget.js';
import type { GetToMerge } from '../merging/merged-messages.js';
import { Floors } from '../floors/floors.js';
import { rangeKey, type WaitRange } from './wait-range.js';
import { WaitingRoom } from './waiting-room.js';
import { WakeUps } from './wake-ups.js';

/** Dead letters come into being inside a claim or a sweep of any pod, which tells nobody when a claim did it. */
const DEAD_LETTER_POLL_MS = 1000;
/** While somebody waits, the other pods are reminded before their knowledge of it ends. */
const REMIND_MS = 10_000;

/** A get with the account that its answer's memory is taken from: when it claims, not while it waits. */
export interface ClaimRequest extends GetToMerge {
  /** The queue's setting, for the opening of what is claimed. */
  readonly acceptUnsealed: boolean;
  readonly hold: Hold;
}

/** Claims for one waiter; null where nothing can be had now. */
export type Claim = (request: ClaimRequest) => Promise<DeliveredMessage[] | null>;

interface Room {
  readonly range: WaitRange;
  readonly room: WaitingRoom<ClaimRequest, DeliveredMessage[]>;
  readonly reminder: NodeJS.Timeout;
}

/** The waiting rooms of this pod: one per range that somebody waits for, made and removed as needed. */
@Injectable()
export class WaitingRooms {
  private readonly rooms = new Map<string, Room>();
  private isClosed = false;

  constructor(
    private readonly functions: MessageFunctions,
    private readonly wakeUps: WakeUps,
    private readonly floors: Floors,
  ) {
    this.wakeUps.onHint = (key, inMs): void => this.rooms.get(key)?.room.hint(inMs);
    this.wakeUps.waitingHere = (): Iterable<WaitRange> => [...this.rooms.values()].map(({ range }) => range);
  }

  /** True where somebody waits already: then a newcomer has to stand in line. */
  hasWaiters(range: WaitRange): boolean {
    return this.rooms.has(rangeKey(range));
  }

  /** Waits for messages for at most `timeoutMs`; an empty array when none came, the client left or the pod stops. */
  async wait(
    request: ClaimRequest,
    timeoutMs: number,
    signal: AbortSignal,
    claim: Claim,
    giveBack: (messages: readonly DeliveredMessage[]) => Promise<void>,
  ): Promise<DeliveredMessage[]> {
    if (this.isClosed) return [];
    const { room } = this.rooms.get(rangeKey(request)) ?? this.open(request, claim, giveBack);
    return (await room.wait(request, timeoutMs, signal)) ?? [];
  }

  /** How many ranges are waited for, and by how many. */
  get size(): { readonly rooms: number; readonly waiters: number } {
    const waiters = [...this.rooms.values()].reduce((sum, { room }) => sum + room.size, 0);
    return { rooms: this.rooms.size, waiters };
  }

  /** Answers everybody who waits with nothing, now and from now on: the pod stops. */
  close(): void {
    this.isClosed = true;
    for (const { room } of this.rooms.values()) room.close();
  }

  private open(
    request: ClaimRequest,
    claim: Claim,
    giveBack: (messages: readonly DeliveredMessage[]) => Promise<void>,
  ): Room {
    const range: WaitRange = {
      queueId: request.queueId,
      consumerGroupId: request.consumerGroupId,
      deadLetter: request.deadLetter,
      channelId: request.channelId,
    };
    const key = rangeKey(range);
    const reminder = setInterval(() => this.wakeUps.announce(range), REMIND_MS);
    const room = new WaitingRoom<ClaimRequest, DeliveredMessage[]>(
      {
        claim,
        giveBack,
        millisecondsUntilVisible: () =>
          this.functions.millisecondsUntilVisible(range, range.channelId, this.floors.forLook(range)),
        closed: () => {
          clearInterval(reminder);
          this.rooms.delete(key);
        },
      },
      range.deadLetter ? DEAD_LETTER_POLL_MS : undefined,
    );
    const entry = { range, room, reminder };
    this.rooms.set(key, entry);
    // Told before anybody looks, so that a put from now on either is seen by the look or is told of.
    this.wakeUps.announce(range);
    return entry;
  }
}
