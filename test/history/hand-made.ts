import { checkHistory } from './check.js';
import type { Property } from './check/properties.js';
import type {
  DeleteCall,
  GetCall,
  GroupRules,
  Operation,
  Outcome,
  Properties,
  PutCall,
  ReceivedMessage,
  RedriveCall,
  Rules,
  StatsCall,
  UpdateCall,
} from './history.js';

/*
 * Hand-made histories, in milliseconds from 0. A call of `at` takes from `at` to `at + 10` and happens at `at + 5`; the
 * visibility timeout is 1 s, the limit 2 deliveries, the clocks agree to 20 ms. All is in the primary group and not among
 * the dead letters, unless `dead` or `inGroup(…)` is spread over it.
 */

const PRIMARY: GroupRules = { name: '', deliveryLimit: 2, takes: () => true };
const SIDE = { group: '', deadLetter: false };

export const dead = { deadLetter: true } as const;
export const inGroup = (group: string) => ({ group });

const call = (at: number, outcome: Outcome = 'done') => ({ calledAt: at, answeredAt: at + 10, outcome });

export function put(
  at: number,
  keys: readonly string[],
  outcome: Outcome = 'done',
  delayInSeconds = 0,
  properties: Properties = {},
): PutCall {
  const id = (key: string): number | null => (outcome === 'done' ? idOf(key) : null);
  const sent = { channelId: '', properties, delayInSeconds, sizeInBytes: 10 };
  return { ...call(at, outcome), kind: 'put', messages: keys.map((key) => ({ ...sent, key, id: id(key) })) };
}

export function get(at: number, messages: readonly ReceivedMessage[], more: Partial<GetCall> = {}): GetCall {
  const range = { ...SIDE, channelId: null, limit: 5, visibilityInSeconds: null, isFinal: false };
  return { ...call(at), kind: 'get', ...range, messages, ...more };
}

/** An aborted poll: what it did, nobody knows. */
export function aborted(at: number, more: Partial<GetCall> = {}): GetCall {
  return get(at, [], { ...call(at, 'unknown'), ...more });
}

/** The delivery of `key` that was claimed at `at + 5`; its receipt is `key` with the count, like `a1`. */
export function delivery(
  at: number,
  key: string,
  deliveryCount: number,
  more: Partial<ReceivedMessage> = {},
): ReceivedMessage {
  const times = { visibleAfter: at + 5 + 1000, createdAt: 'then', expireAfter: 'later' };
  return { key, id: idOf(key), channelId: '', receipt: `${key}${deliveryCount}`, deliveryCount, ...times, ...more };
}

export function update(at: number, receipt: string, seconds: number, outcome: Outcome = 'done'): UpdateCall {
  const visibleAfter = outcome === 'done' ? at + 5 + seconds * 1000 : null;
  return { ...call(at, outcome), ...SIDE, kind: 'update', receipt, visibilityInSeconds: seconds, visibleAfter };
}

export function del(at: number, receipt: string, outcome: Outcome = 'done'): DeleteCall {
  return { ...call(at, outcome), ...SIDE, kind: 'delete', receipt };
}

/** A redrive of all groups that was done by `finishedAt`. */
export function redrive(at: number, finishedAt: number, more: Partial<RedriveCall> = {}): RedriveCall {
  return { ...call(at), kind: 'redrive', group: null, channelIds: null, finishedAt, isComplete: true, ...more };
}

export function stats(at: number, visible: number, deadLetters: number, inFlight = 0): StatsCall {
  const figures = (n: number) => ({ visibleMessages: n, inFlightMessages: inFlight, sizeInBytes: n * 10 });
  return { ...call(at), kind: 'stats', group: '', queue: figures(visible), dlq: figures(deadLetters) };
}

function idOf(key: string): number {
  return key.codePointAt(0) ?? 0;
}

/** Those of a queue without consumer groups. */
export const HAND_MADE_RULES: Rules = {
  visibilityInSeconds: 1,
  groups: [PRIMARY],
  clockToleranceMs: 20,
  lingerMs: 500,
};

/** Which properties these operations break, in a queue with these groups beside the primary one. */
export function brokenIn(groups: readonly GroupRules[], ...operations: Operation[]): Property[] {
  const rules = { ...HAND_MADE_RULES, groups: [PRIMARY, ...groups] };
  return [...new Set(checkHistory({ rules, operations }).map(({ property }) => property))];
}

export function broken(...operations: Operation[]): Property[] {
  return brokenIn([], ...operations);
}
