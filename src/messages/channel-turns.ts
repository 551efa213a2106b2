import { Injectable } from '@nestjs/common';
import type { MessageRange } from '../database/message-functions.js';

const MAX_RANGES = 10_000;
const LETTERS = '-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz';

/**
 * Which channel this pod served last, for gets that name none: the next one that has something comes next, so every
 * channel has its turn however much the others hold. Pods start at a random place, so that they do not go in step.
 */
@Injectable()
export class ChannelTurns {
  private readonly last = new Map<string, string>();

  lastServed(range: MessageRange): string {
    const key = keyOf(range);
    let channelId = this.last.get(key);
    if (channelId === undefined) {
      channelId = LETTERS[Math.floor(Math.random() * LETTERS.length)] ?? '';
      this.served(range, channelId);
    }
    return channelId;
  }

  served(range: MessageRange, channelId: string): void {
    if (this.last.size >= MAX_RANGES) this.last.clear();
    this.last.set(keyOf(range), channelId);
  }
}

function keyOf(range: MessageRange): string {
  return `${range.queueId} ${range.consumerGroupId} ${range.deadLetter}`;
}
