import type { Pod } from '../../src/app.js';
import { WaitingRooms } from '../../src/messages/waiting/waiting-rooms.js';
import { RecordedQueue, type MessageToSend, type QueueSettings } from '../history/recorded-queue.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { until } from '../support/until.js';

export { until };

export interface PodsAndQueue {
  readonly pods: TestPods;
  readonly queue: RecordedQueue;
  /** A further queue on the same pods. */
  readonly newQueue: (settings?: Partial<QueueSettings>) => Promise<RecordedQueue>;
}

export async function startPodsAndQueue(count: number, environment?: Record<string, string>): Promise<PodsAndQueue> {
  const pods = await startTestPods(count, environment);
  const target = { urls: pods.pods.map(({ url }) => url), ...pods.credentials };
  const newQueue = (settings: Partial<QueueSettings> = {}): Promise<RecordedQueue> =>
    RecordedQueue.create(target, { visibilityInSeconds: 30, deadLetterQueueDeliveryCount: 5, ...settings });
  return { pods, queue: await newQueue(), newQueue };
}

/** How many long polls a pod has parked. */
export function waitersOf(pod: Pod): number {
  return pod.app.get(WaitingRooms).size.waiters;
}

export async function untilParked(pod: Pod, waiters: number): Promise<void> {
  await until(() => waitersOf(pod) === waiters, `${waiters} long polls are parked (${waitersOf(pod)} are)`);
}

export function message(key: string, more: Partial<MessageToSend> = {}): MessageToSend {
  return { key, channelId: '', delayInSeconds: 0, ...more };
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}
