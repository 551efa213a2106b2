import type { Properties } from './history.js';
import type { GroupSettings } from './recorded-queue.js';
import { chance, pick } from './random.js';

/**
 * The groups of the load beside the primary one, each with a filter and a limit of its own. What a filter means is told a
 * second time here, by hand: the checker asks `takes`, never the service.
 */
export const GROUPS: readonly GroupSettings[] = [
  {
    name: 'orders',
    filter: ':kind = "order" and not :amount > 100',
    takes: ({ kind, amount }) => kind === 'order' && !(numberOf(amount) > 100),
    deadLetterQueueDeliveryCount: 1,
  },
  {
    name: 'large',
    filter: '(:amount >= 50 or :kind = "invoice") and :kind != "note"',
    takes: ({ kind, amount }) =>
      (numberOf(amount) >= 50 || kind === 'invoice') && kind !== undefined && kind !== 'note',
    deadLetterQueueDeliveryCount: 2,
  },
  {
    name: 'audit',
    filter: ':audit and not (:kind = "order" or :amount < 0)',
    takes: ({ kind, amount, audit }) => audit !== undefined && kind !== 'order' && !(numberOf(amount) < 0),
    deadLetterQueueDeliveryCount: 0,
  },
];

/** What is no number compares with nothing. */
function numberOf(text: string | undefined): number {
  return text === undefined || !/^-?\d+(\.\d+)?$/.test(text) ? NaN : Number(text);
}

/** Properties that go to none of the groups, to one, or to several. */
export function anyProperties(): Properties {
  const kind = pick(['order', 'order', 'invoice', 'note', null]);
  const amount = pick(['-3', '20', '50', '100', '100.5', '4000', 'many', null]);
  return {
    ...(kind === null ? {} : { kind }),
    ...(amount === null ? {} : { amount }),
    ...(chance(0.4) ? { audit: pick(['', 'yes']) } : {}),
  };
}
