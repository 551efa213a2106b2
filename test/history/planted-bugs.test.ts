import { startTestPods } from '../support/pod.js';
import type { TestDatabase } from '../support/database.js';
import { checkHistory } from './check.js';
import { PROPERTIES, type Property } from './check/properties.js';
import { runLoad } from './load.js';
import { settle } from './settle.js';
import { RecordedQueue } from './recorded-queue.js';

/*
 * Does the checker find what it is for? Each test breaks one SQL function of its own database in a way that no single
 * request shows, and runs the load of load.test.ts against it for some seconds.
 */

const SECONDS = 6;
/** A loaded machine may not come to what shows the bug in the first run. */
const ATTEMPTS = 3;
const TIMEOUT_MS = 300_000;
const LIMIT = 3;

/** Rewrites one function: each pair is a piece of its source, which must be there, and what it becomes. */
async function rewrite(
  { sql }: TestDatabase,
  name: string,
  ...changes: readonly [from: RegExp, to: string][]
): Promise<void> {
  const rows = await sql<{ source: string }>(
    `select pg_get_functiondef(p.oid) as source from pg_proc p
     where p.pronamespace = 'towpath'::regnamespace and p.proname = $1`,
    [name],
  );
  let source = rows[0]?.source ?? '';
  for (const [from, to] of changes) {
    const rewritten = source.replace(from, to);
    if (rewritten === source) throw new Error(`${name} has no ${from.source} any more: plant the bug elsewhere`);
    source = rewritten;
  }
  await sql(source);
}

/** Which properties the planted bug breaks, and how often. Where `expected` is not among them, the load gets more time. */
async function propertiesBroken(
  expected: Property,
  plant: (test: TestDatabase) => Promise<unknown>,
): Promise<Map<Property, number>> {
  const pods = await startTestPods(2);
  try {
    await plant(pods.test);
    const target = { urls: pods.pods.map(({ url }) => url), ...pods.credentials };
    // Nothing here is slow or away, so what an aborted poll may explain is bounded tightly.
    const settings = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: LIMIT, lingerMs: 500 };
    const queue = await RecordedQueue.create(target, settings);
    const found = new Map<Property, number>();
    for (let attempt = 0; attempt < ATTEMPTS && !found.has(expected); attempt += 1) {
      await runLoad(queue, { seconds: SECONDS });
      await settle(queue, pods.test);
      found.clear();
      for (const { property } of checkHistory(queue.history)) found.set(property, (found.get(property) ?? 0) + 1);
    }
    process.stdout.write(`${expect.getState().currentTestName}: ${JSON.stringify(Object.fromEntries(found))}\n`);
    return found;
  } finally {
    await pods.stop();
  }
}

describe('the history checker finds', () => {
  it(
    'a claim that hands one message to two consumers',
    async () => {
      const found = await propertiesBroken(PROPERTIES.holder, (test) =>
        // The lock does not look again whether the message is still visible, nor does anything wait for it.
        rewrite(test, 'get_messages', [/for update skip locked/, '']),
      );
      expect(found.has(PROPERTIES.holder)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a delete that takes any receipt of the message',
    async () => {
      const found = await propertiesBroken(PROPERTIES.stale, (test) =>
        rewrite(test, 'delete_messages', [/and \w+\.receipt_number = \w+\.receipt_number/g, '']),
      );
      expect(found.has(PROPERTIES.stale)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'an update that takes any receipt of the message',
    async () => {
      const found = await propertiesBroken(PROPERTIES.stale, (test) =>
        rewrite(test, 'update_messages', [/and \w+\.receipt_number = \w+\.receipt_number/g, '']),
      );
      expect(found.has(PROPERTIES.stale)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a put that acknowledges one message in 200 without storing it',
    async () => {
      const found = await propertiesBroken(PROPERTIES.lost, ({ sql }) =>
        sql(`
        create function towpath.lose_one() returns trigger language plpgsql as $$
          begin if new.id % 200 = 0 then return null; end if; return new; end $$;
        create trigger lose_one before insert on towpath.message for each row execute function towpath.lose_one();`),
      );
      expect(found.has(PROPERTIES.lost)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a message that becomes a dead letter one delivery too early',
    async () => {
      const found = await propertiesBroken(PROPERTIES.deadLetter, ({ sql }) =>
        sql(`
        create or replace trigger move_to_dead_letter_queue
        before update of delivery_count on towpath.message
        for each row when (new.delivery_count >= new.delivery_limit and not new.dead_letter)
        execute function towpath.move_to_dead_letter_queue()`),
      );
      expect(found.has(PROPERTIES.deadLetter)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a sweep that kills deliveries whose window is still open',
    async () => {
      const found = await propertiesBroken(PROPERTIES.holder, (test) =>
        rewrite(test, 'sweep_timed_out_deliveries', [
          /and m\.visible_after <= v_now/,
          'and m.delivered_at <= v_now',
        ]).then(() => rewrite(test, 'queues_with_timed_out_deliveries', [/if v_oldest <= v_now/, 'if true'])),
      );
      expect(found.has(PROPERTIES.holder)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a dead letter trigger that counts the delivery that never happened',
    async () => {
      const found = await propertiesBroken(PROPERTIES.count, (test) =>
        rewrite(test, 'move_to_dead_letter_queue', [/new\.delivery_count := old\.delivery_count/, '$& + 1']),
      );
      expect(found.has(PROPERTIES.count)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'statistics that forget a dead letter',
    async () => {
      const found = await propertiesBroken(PROPERTIES.stats, (test) =>
        rewrite(test, 'sweep_timed_out_deliveries', [/\(false, -1\), \(true, 1\)/, '(true, 1)']),
      );
      expect([...found.keys()]).toEqual([PROPERTIES.stats]);
    },
    TIMEOUT_MS,
  );
});
