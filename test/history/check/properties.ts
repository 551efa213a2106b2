/** What a history may break, as the checker names it. All of it holds per message and consumer group. */
export const PROPERTIES = {
  lost: 'no acknowledged message is lost',
  nowhere: 'nothing comes from nowhere',
  filter: 'a group gets only what its filter takes',
  transaction: 'a transaction happens as a whole or not at all',
  atomic: 'a put stores all of its messages or none, in all groups that take them',
  kept: 'a message stays as it was put',
  once: 'a message is there once',
  early: 'no delivery before the delay is over',
  holder: 'no two holders inside one visibility window',
  afterDelete: 'no delivery after a confirmed delete',
  stale: 'a stale receipt changes nothing',
  live: 'a live receipt is honoured',
  count: 'the delivery count is exact',
  deadLetter: 'in the dead letter queue exactly when the limit was passed',
  redriven: 'a redrive takes every dead letter of its range',
  times: 'answered times are true',
  stats: 'the statistics converge to the truth',
} as const;
export type Property = (typeof PROPERTIES)[keyof typeof PROPERTIES];

export interface Violation {
  readonly property: Property;
  /** The name of the group; '' is the primary one. */
  readonly group: string;
  /** The key of the message; '' where it is about no single one. */
  readonly key: string;
  readonly what: string;
}
