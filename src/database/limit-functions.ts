import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';

const HEARTBEAT: Statement = {
  name: 'record_heartbeat',
  text: 'select towpath.record_heartbeat($1, $2) as living',
};
const FORGET_POD: Statement = { name: 'forget_pod', text: 'select towpath.forget_pod($1)' };
const STORED_BYTES: Statement = {
  name: 'stored_bytes',
  text: 'select channel_id as "channelId", size_in_bytes as "sizeInBytes" from towpath.stored_bytes($1, $2)',
};
const STORED_BYTES_OF_TENANCY: Statement = {
  name: 'stored_bytes_of_tenancy',
  text: 'select towpath.stored_bytes_of_tenancy($1) as "sizeInBytes"',
};

export interface StoredBytes {
  /** Of the whole queue. */
  readonly total: number;
  /** Of the channels that have at least as many as was asked for. */
  readonly channels: ReadonlyMap<string, number>;
}

/** The SQL functions that limits rest on, each called from here only. */
@Injectable()
export class LimitFunctions {
  constructor(private readonly database: Database) {}

  /** Says that this pod lives; returns how many do, counting those that were seen within `staleAfterSeconds`. */
  async recordHeartbeat(podId: string, staleAfterSeconds: number): Promise<number> {
    const [row] = await this.database.run<{ living: number }>(HEARTBEAT, [podId, staleAfterSeconds]);
    return row?.living ?? 1;
  }

  async forgetPod(podId: string): Promise<void> {
    await this.database.run(FORGET_POD, [podId]);
  }

  /** What a queue stores; `channelsFrom` null: no channels. */
  async storedBytes(queueId: number, channelsFrom: number | null): Promise<StoredBytes> {
    let total = 0;
    const channels = new Map<string, number>();
    const rows = await this.database.run<{ channelId: string | null; sizeInBytes: number }>(STORED_BYTES, [
      queueId,
      channelsFrom,
    ]);
    for (const { channelId, sizeInBytes } of rows) {
      if (channelId === null) total = sizeInBytes;
      else channels.set(channelId, sizeInBytes);
    }
    return { total, channels };
  }

  /** What all queues of a tenancy store. */
  async storedBytesOfTenancy(tenancyId: string): Promise<StoredBytes> {
    const [row] = await this.database.run<{ sizeInBytes: number }>(STORED_BYTES_OF_TENANCY, [tenancyId]);
    return { total: row?.sizeInBytes ?? 0, channels: new Map() };
  }
}
