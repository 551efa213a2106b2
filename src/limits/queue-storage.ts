import type { StoredBytes } from '../database/limit-functions.js';
import type { MessageToPut, PutMessage } from '../database/put-functions.js';

/** Bytes by channel, and all of them together. */
class Tally {
  total = 0;
  private readonly channels = new Map<string, number>();

  get size(): number {
    return this.channels.size;
  }

  of(channelId: string): number {
    return this.channels.get(channelId) ?? 0;
  }

  /** What comes to nothing is forgotten, so that refused puts into made-up channels leave nothing. */
  add(channelId: string, bytes: number): void {
    this.total += bytes;
    const sum = this.of(channelId) + bytes;
    if (sum === 0) this.channels.delete(channelId);
    else this.channels.set(channelId, sum);
  }

  addAll(other: Tally): void {
    for (const [channelId, bytes] of other.channels) this.add(channelId, bytes);
  }
}

const NOTHING: StoredBytes = { total: 0, channels: new Map() };

/**
 * What one queue stores, as far as this pod knows: what the database said when it was read last, and what this pod has
 * put since. A put that is under way while it is read counts twice for a moment, never not at all.
 */
export class QueueStorage {
  /** When it was read last, on the monotonic clock. */
  readAt = -Infinity;
  /** How long that took. */
  readMs = 0;
  /** From how many bytes on channels were asked for; null: they were not. */
  channelsFrom: number | null = null;
  /** A read that is under way. */
  reading: Promise<void> | null = null;
  private stored = NOTHING;
  private underWay = new Tally();
  private since = new Tally();
  /** What was put before the read under way began. */
  private before: Tally | null = null;

  get total(): number {
    return this.stored.total + (this.before?.total ?? 0) + this.since.total + this.underWay.total;
  }

  /** Channels that are remembered, those of several reasons as often. */
  get channels(): number {
    return this.stored.channels.size + (this.before?.size ?? 0) + this.since.size + this.underWay.size;
  }

  /** A channel that has less than was asked for counts with what this pod has put since. */
  ofChannel(channelId: string): number {
    return (
      (this.stored.channels.get(channelId) ?? 0) +
      (this.before?.of(channelId) ?? 0) +
      this.since.of(channelId) +
      this.underWay.of(channelId)
    );
  }

  beginPut(messages: readonly MessageToPut[]): void {
    for (const { channelId, sizeInBytes } of messages) this.underWay.add(channelId, sizeInBytes);
  }

  /** `stored` null: it failed, or nobody knows what became of it; the next read does. */
  endPut(messages: readonly MessageToPut[], stored: readonly PutMessage[] | null): void {
    for (const [index, { channelId, sizeInBytes }] of messages.entries()) {
      this.underWay.add(channelId, -sizeInBytes);
      // A row for each consumer group that takes it.
      const rows = stored?.[index]?.consumerGroupIds.length ?? 0;
      if (rows > 0) this.since.add(channelId, sizeInBytes * rows);
    }
  }

  beginRead(): void {
    this.before = this.since;
    this.since = new Tally();
  }

  endRead(stored: StoredBytes, channelsFrom: number | null): void {
    this.stored = stored;
    this.channelsFrom = channelsFrom;
    this.before = null;
  }

  failRead(): void {
    if (this.before !== null) this.since.addAll(this.before);
    this.before = null;
  }
}
