import fc from 'fast-check';
import type { Pod } from '../../src/app.js';
import { toServiceError } from '../../src/errors/catalogue.js';
import type { Caller } from '../../src/identity/caller.js';
import { MemoryBudget } from '../../src/memory/memory-budget.js';
import { DeliveriesService } from '../../src/messages/deliveries.service.js';
import { MergeCounts, type MergeKind } from '../../src/messages/merging/merge-counts.js';
import { GetsService } from '../../src/messages/gets.service.js';
import { PutsService } from '../../src/messages/puts.service.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

// Two pods on one database, of which one merges and the other does not. Both are asked the same, each on a queue of its
// own: the one everything of a round at once, the other one after another. Whatever they answer must be the same, and
// so must be what is stored in the end.

const CHANNELS = ['', 'a', 'b', 'c'] as const;
const MAX_CHANNELS = '2';

type Request =
  | { readonly kind: 'put'; readonly channels: readonly string[]; readonly delayInSeconds: number }
  | { readonly kind: 'get'; readonly limit: number; readonly channel: string | null; readonly visibility: number }
  | { readonly kind: 'update' | 'delete'; readonly picks: readonly number[] };

const channel = fc.constantFrom(...CHANNELS);
const putRequest = fc.record({
  kind: fc.constant('put' as const),
  channels: fc.array(channel, { minLength: 1, maxLength: 3 }),
  // The longest is refused.
  delayInSeconds: fc.constantFrom(0, 0, 0, 0, 0, 100_000),
});
const getRequest = fc.record({
  kind: fc.constant('get' as const),
  limit: fc.integer({ min: 1, max: 4 }),
  channel: fc.constantFrom('a', 'b'),
  // Gets that are not merged with each other have no order among them: so what they share is the same in a run.
  visibility: fc.constant(300),
});
const receipts = (kind: 'update' | 'delete') =>
  fc.record({ kind: fc.constant(kind), picks: fc.array(fc.nat(12), { minLength: 1, maxLength: 4 }) });
const several = (request: fc.Arbitrary<Request>): fc.Arbitrary<Request[]> =>
  fc.array(request, { minLength: 1, maxLength: 8 });
const round = fc.oneof(
  { weight: 3, arbitrary: several(putRequest) },
  { weight: 3, arbitrary: several(getRequest) },
  { weight: 1, arbitrary: several(receipts('update')) },
  { weight: 1, arbitrary: several(receipts('delete')) },
);

/** Has something to merge of every kind, whatever the others are. */
const ONE_OF_EACH: Request[][] = [
  [0, 1, 2].map(() => ({ kind: 'put', channels: ['a'], delayInSeconds: 0 })),
  [0, 1, 2].map(() => ({ kind: 'get', limit: 1, channel: 'a', visibility: 300 })),
  [0, 1, 2].map((pick) => ({ kind: 'update', picks: [pick] })),
  [0, 1, 2].map((pick) => ({ kind: 'delete', picks: [pick] })),
];

describe('merged requests', () => {
  let pods: TestPods;
  let client: Client;
  let caller: Caller;
  const mergedOf: Record<MergeKind, number> = { put: 0, get: 0, update: 0, delete: 0 };

  beforeAll(async () => {
    const settings = { TOWPATH_MAX_CHANNELS: MAX_CHANNELS };
    pods = await startTestPods(1, settings);
    await pods.add({ TOWPATH_MERGING: 'off' });
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    caller = {
      tenancyId: pods.credentials.tenancyId,
      userId: pods.credentials.userId,
      permission: 'use queue-push',
    } as Caller;
    pods.pods[0]!.app.get(MergeCounts).onStatement = (kind, requests): void => {
      if (requests > 1) mergedOf[kind] += 1;
    };
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  /** One queue on one pod, where messages are known by their content. */
  class Side {
    /** In the order of the requests that were given them, from one round on to the next. */
    private readonly held: string[] = [];
    private readonly given = new Map<string, readonly string[]>();

    constructor(
      private readonly pod: Pod,
      private readonly id: string,
    ) {}

    /** Whatever a request is answered, without what differs between queues. */
    async ask(request: Request, name: string): Promise<unknown> {
      try {
        return await this.answer(request, name);
      } catch (error) {
        return toServiceError(error).code;
      }
    }

    endRound(names: readonly string[]): void {
      for (const name of names) this.held.push(...(this.given.get(name) ?? []));
    }

    async stored(): Promise<unknown> {
      const rows = await pods.test.sql<{ queue_id: number }>(
        `select m.channel_id, m.delivery_count, m.receipt_number, m.dead_letter, m.size_in_bytes, m.delivered_to
         from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1 order by m.id`,
        [this.id],
      );
      const stats = await pods.test.sql(
        `select s.* from towpath.queue q cross join lateral towpath.get_stats(q.id) s where q.ocid = $1`,
        [this.id],
      );
      return [rows, stats];
    }

    private async answer(request: Request, name: string): Promise<unknown> {
      const { app } = this.pod;
      if (request.kind === 'put') {
        const { channels, delayInSeconds } = request;
        const messages = channels.map((channelId, index) => ({
          content: `${name}/${index}`,
          delayInSeconds: index === 0 ? delayInSeconds : 0,
          ...(channelId === '' ? {} : { metadata: { channelId } }),
        }));
        const { outcome } = await app.get(PutsService).put(caller, this.id, { messages });
        return outcome.messages.map(({ id, expireAfter }) => [typeof id, expireAfter !== undefined]);
      }
      if (request.kind === 'get') {
        const { limit, channel: channelFilter, visibility: visibilityInSeconds } = request;
        const query = { limit, visibilityInSeconds, timeoutInSeconds: 0, channelFilter: channelFilter ?? undefined };
        const hold = app.get(MemoryBudget).open();
        const { signal } = new AbortController();
        const { outcome } = await app.get(GetsService).get(caller, this.id, query, signal, hold);
        const { messages: found } = outcome;
        hold.release();
        this.given.set(
          name,
          found.map(({ receipt }) => receipt),
        );
        return found.map(({ content, deliveryCount, metadata }) => [content, deliveryCount, metadata?.channelId]);
      }
      // Whatever was given to anybody, in the order of the answers; or what never was a receipt.
      const chosen = request.picks.map((pick) => this.held[pick] ?? 'garbled');
      const deliveries = app.get(DeliveriesService);
      if (request.kind === 'delete') return deliveries.deleteMany(caller, this.id, undefined, chosen);
      const entries = chosen.map((receipt) => ({ receipt, visibilityInSeconds: 600 }));
      const { outcome } = await deliveries.updateMany(caller, this.id, undefined, entries);
      const { entries: results, ...counts } = outcome;
      return [counts, results.map((result) => ('errorCode' in result ? result : 'updated'))];
    }
  }

  it('have the answers and the effects that they would have had alone, one after another', async () => {
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(round, { minLength: 4, maxLength: 10 }), async (rounds) => {
        runs += 1;
        const { compartmentId } = pods.credentials;
        const [merged, alone] = await Promise.all(
          pods.pods.map(async (pod, index) => {
            const id = await client.createQueue({ compartmentId, displayName: `${runs}-${index}` });
            const side = new Side(pod, id);
            // Known to the pod from now on.
            await side.ask({ kind: 'put', channels: ['a'], delayInSeconds: 0 }, 'first');
            return side;
          }),
        );
        for (const [number, requests] of rounds.entries()) {
          const names = requests.map((_, index) => `${number}/${index}`);
          const together = await Promise.all(requests.map((request, index) => merged!.ask(request, names[index]!)));
          const one: unknown[] = [];
          for (const [index, request] of requests.entries()) one.push(await alone!.ask(request, names[index]!));
          for (const side of [merged!, alone!]) side.endRound(names);
          expect([requests, together]).toEqual([requests, one]);
        }
        expect(await merged!.stored()).toEqual(await alone!.stored());
      }),
      { numRuns: Number(process.env['TEST_MODEL_RUNS'] ?? 12), examples: [[ONE_OF_EACH]] },
    );
    // They were merged, of every kind.
    expect(Object.entries(mergedOf).filter(([, statements]) => statements === 0)).toEqual([]);
  }, 240_000);
});
