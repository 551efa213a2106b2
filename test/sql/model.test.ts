import fc from 'fast-check';
import { makeQueue, runWorkRequests, useDatabase } from './support.js';
import type { MessageRow, Queue, Receipt } from './support.js';

// A queue in a few lines of TypeScript, and random histories on which it and the SQL functions must agree about
// everything that can be seen: every answer, and after every step the statistics, the channels and what is in flight.
// The model has no clock: whatever is hidden stays so until the history lets it time out.

const { run } = useDatabase();

const RUNS = Number(process.env['TEST_MODEL_RUNS'] ?? 40);
const CHANNELS = ['', 'a', 'b'] as const;

interface Message {
  readonly id: number;
  readonly channel: string;
  readonly size: number;
  count: number;
  limit: number | null;
  receipt: number;
  dead: boolean;
  hidden: boolean;
  /** The order in which messages became visible, which is the order of delivery. */
  since: number;
}

class Model {
  messages: Message[] = [];
  limit: number | null = 2;
  purge: { readonly dead: boolean | null; readonly channel: string | null; readonly ids: ReadonlySet<number> } | null =
    null;
  private clock = 0;

  put(id: number, channel: string, size: number, hidden: boolean): void {
    const fresh = { count: 0, limit: null, receipt: 0, dead: false };
    this.messages.push({ ...fresh, id, channel, size, hidden, since: this.tick() });
  }

  /** What a get of one channel delivers, in three rounds at most; what dies in them, dies at one time. */
  get(dead: boolean, channel: string, max: number, hide: boolean): Message[] {
    const since = this.tick();
    const found: Message[] = [];
    const seen = new Set<Message>();
    for (let round = 0; round < 3 && found.length < max; round += 1) {
      const next = this.visible(dead, channel).filter((message) => !seen.has(message));
      let died = 0;
      for (const message of next.slice(0, max - found.length)) {
        seen.add(message);
        if (!dead && this.limit !== null && message.count + 1 > this.limit) {
          message.limit = this.limit;
          this.die(message, since);
          died += 1;
          continue;
        }
        message.count += 1;
        message.receipt += 1;
        if (!dead) message.limit = this.limit;
        message.hidden = hide;
        found.push(message);
      }
      if (died === 0) break;
    }
    return found;
  }

  /** The next in turn that has something to deliver. */
  getAny(dead: boolean, after: string, max: number, hide: boolean): Message[] {
    const turns = [...CHANNELS.filter((c) => c > after), ...CHANNELS.filter((c) => c <= after)];
    for (const channel of turns) {
      const found = this.get(dead, channel, max, hide);
      if (found.length > 0) return found;
    }
    return [];
  }

  holder(dead: boolean, { id, receipt_number }: Receipt): Message | undefined {
    return this.messages.find((m) => m.id === id && m.receipt === receipt_number && m.dead === dead);
  }

  show(message: Message): void {
    message.hidden = false;
    message.since = this.tick();
  }

  /** All at once, as `timeOut` does: the order among them is that of their ids. */
  timeOut(): void {
    const since = this.tick();
    for (const message of this.messages.filter((m) => m.hidden)) Object.assign(message, { hidden: false, since });
  }

  sweep(): void {
    const since = this.tick();
    for (const message of this.messages) {
      if (message.dead || message.hidden || message.limit === null || message.count < message.limit) continue;
      if (this.isPurged(message)) continue;
      if (this.limit !== null && message.count >= this.limit) this.die(message, since);
      else message.limit = this.limit;
    }
  }

  startPurge(dead: boolean | null, channel: string | null): void {
    const inRange = (m: Message): boolean =>
      (dead === null || m.dead === dead) && (channel === null || m.channel === channel);
    this.purge = { dead, channel, ids: new Set(this.messages.filter(inRange).map(({ id }) => id)) };
  }

  endPurge(): void {
    this.messages = this.messages.filter((message) => !this.isPurged(message));
    this.purge = null;
  }

  counted(dead: boolean, channel: string | null): Message[] {
    return this.messages.filter(
      (m) => m.dead === dead && (channel === null || m.channel === channel) && !this.isPurged(m),
    );
  }

  channels(dead: boolean): string[] {
    const names = this.messages.filter((m) => m.dead === dead && m.channel !== '').map(({ channel }) => channel);
    return [...new Set(names)].toSorted();
  }

  private visible(dead: boolean, channel: string): Message[] {
    return this.counted(dead, channel)
      .filter((m) => !m.hidden)
      .toSorted((x, y) => x.since - y.since || x.id - y.id);
  }

  private isPurged({ id, dead }: Message): boolean {
    return this.purge !== null && this.purge.ids.has(id) && (this.purge.dead === null || this.purge.dead === dead);
  }

  private die(message: Message, since: number): void {
    Object.assign(message, { dead: true, hidden: false, since });
    message.receipt += 1;
  }

  private tick(): number {
    this.clock += 1;
    return this.clock;
  }
}

interface World {
  readonly queue: Queue;
  readonly model: Model;
  /** Every receipt that was ever given, by side; later ones make earlier ones stale. */
  readonly receipts: { readonly dead: boolean; readonly receipt: Receipt }[];
}

type Step = (world: World) => Promise<void>;

const seen = (rows: readonly MessageRow[]): (readonly unknown[])[] =>
  rows.map((m) => [m.id, m.channel_id, m.delivery_count, m.receipt_number, m.dead_letter]);
const expected = (messages: readonly Message[]): (readonly unknown[])[] =>
  messages.map((m) => [m.id, m.channel, m.count, m.receipt, m.dead]);
const byId = (rows: readonly (readonly unknown[])[]): (readonly unknown[])[] =>
  rows.toSorted((x, y) => Number(x[0]) - Number(y[0]));

const channel = fc.constantFrom(...CHANNELS);
const dead = fc.nat(3).map((n) => n === 0);
/** Which of the receipts given so far, newest most often; some stand twice, some are stale. */
const choice = fc.array(fc.nat(7), { minLength: 1, maxLength: 4 });

function chosen(world: World, side: boolean, picks: readonly number[]): Receipt[] {
  const given = world.receipts.filter((entry) => entry.dead === side).toReversed();
  return picks.flatMap((pick) => given[pick]?.receipt ?? []);
}

type Steps = fc.Arbitrary<{ readonly label: string; readonly step: Step }>;

// A function, so that the steps may expect something.
function makeSteps(): Steps[] {
  return [
    fc
      .tuple(channel, fc.array(fc.nat(20), { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([to, sizes, delayed]) => ({
        label: `put ${sizes.length} into '${to}'${delayed ? ' delayed' : ''}`,
        step: async ({ queue, model }) => {
          const ids = await queue.put(
            sizes.map((size) => 'x'.repeat(size)),
            to,
            delayed ? 1000 : 0,
          );
          for (const [index, size] of sizes.entries()) model.put(ids[index] ?? 0, to, size, delayed);
        },
      })),
    fc
      .tuple(dead, fc.option(channel), channel, fc.integer({ min: 1, max: 5 }), fc.boolean())
      .map(([side, of, after, limit, hide]) => ({
        label: `get ${limit} of ${side ? 'dead ' : ''}${of === null ? `any after '${after}'` : `'${of}'`}${hide ? '' : ', visibility 0'}`,
        step: async ({ queue, model, receipts }) => {
          const rows = await queue.get({ dead: side, channel: of, after, limit, visibility: hide ? 1000 : 0 });
          const messages = of === null ? model.getAny(side, after, limit, hide) : model.get(side, of, limit, hide);
          expect(byId(seen(rows))).toEqual(byId(expected(messages)));
          for (const { id, receipt_number } of rows) receipts.push({ dead: side, receipt: { id, receipt_number } });
        },
      })),
    fc.tuple(dead, choice, fc.boolean()).map(([side, picks, hide]) => ({
      label: `update ${side ? 'dead ' : ''}${picks.join()} to ${hide ? 1000 : 0}`,
      step: async (world) => {
        const entries = chosen(world, side, picks);
        const answers = await world.queue.update(
          entries.map((entry) => ({ ...entry, seconds: hide ? 1000 : 0 })),
          side,
        );
        const holders = entries.map((entry) => world.model.holder(side, entry));
        expect(answers.map(({ updated }) => updated)).toEqual(holders.map((message) => message !== undefined));
        const held = new Set(holders.filter((message) => message !== undefined));
        // One statement, one time: the order among them is that of their ids.
        for (const message of [...held].toSorted((x, y) => x.id - y.id)) {
          if (hide) message.hidden = true;
          else world.model.show(message);
        }
      },
    })),
    fc.tuple(dead, choice).map(([side, picks]) => ({
      label: `delete ${side ? 'dead ' : ''}${picks.join()}`,
      step: async (world) => {
        const entries = chosen(world, side, picks);
        const answers = await world.queue.delete(entries, side);
        const wanted = entries.map((entry) => {
          const message = world.model.holder(side, entry);
          if (message !== undefined) world.model.messages.splice(world.model.messages.indexOf(message), 1);
          return message !== undefined;
        });
        expect(answers).toEqual(wanted);
      },
    })),
    fc.tuple(dead, choice).map(([side, picks]) => ({
      label: `release ${side ? 'dead ' : ''}${picks.join()}`,
      step: async (world) => {
        const entries = chosen(world, side, picks);
        const released = await world.queue.release(entries, side);
        const wanted = entries
          .toSorted((x, y) => x.id - y.id)
          .flatMap((entry) => {
            const message = world.model.holder(side, entry);
            if (message === undefined) return [];
            message.count -= 1;
            message.receipt += 1;
            world.model.show(message);
            return [message.id];
          });
        expect(released).toEqual(wanted);
      },
    })),
    fc.constant({
      label: 'time out',
      step: async ({ queue, model }: World) => {
        await queue.timeOut();
        model.timeOut();
      },
    }),
    fc.constant({
      label: 'sweep',
      step: async ({ queue, model }: World) => {
        await queue.sweepTimedOut();
        model.sweep();
      },
    }),
    fc.constant({
      label: 'fold',
      step: async ({ queue }: World) => {
        await queue.fold(3);
      },
    }),
    fc.constantFrom(1, 2, 0, 3).map((count) => ({
      label: `limit ${count}`,
      step: async ({ queue, model }) => {
        await queue.change({ deadLetterQueueDeliveryCount: count });
        model.limit = count === 0 ? null : count;
      },
    })),
    fc.tuple(fc.constantFrom('NORMAL', 'DLQ', 'BOTH'), fc.option(fc.constantFrom('a', 'b'))).map(([purgeType, of]) => ({
      label: `purge ${purgeType} ${of ?? ''}`,
      step: async ({ queue, model }) => {
        const purging = queue.purge({ purgeType, ...(of === null ? {} : { channelIds: [of] }) });
        if (model.purge !== null) {
          await expect(purging).rejects.toMatchObject({ code: 'TP409' });
          return;
        }
        await purging;
        model.startPurge(purgeType === 'BOTH' ? null : purgeType === 'DLQ', of);
      },
    })),
    fc.constant({
      label: 'end the purge',
      step: async ({ model }: World) => {
        await runWorkRequests(run, 3);
        model.endPurge();
      },
    }),
  ];
}

const [put, get, update, remove, release, timeOut, sweep, fold, changeLimit, purge, endPurge] = makeSteps();

// Gets and timeouts come often, so that messages die of them.
const weights = [
  [put, 3],
  [get, 6],
  [update, 2],
  [remove, 2],
  [release, 1],
  [timeOut, 4],
  [sweep, 2],
  [fold, 1],
  [changeLimit, 1],
  [purge, 1],
  [endPurge, 1],
] as const;
const steps = weights.flatMap(([arbitrary, weight]) => (arbitrary === undefined ? [] : { arbitrary, weight }));

const sum = (messages: readonly Message[]): number => messages.reduce((total, { size }) => total + size, 0);

async function expectAgreement({ queue, model }: World): Promise<void> {
  for (const of of [null, ...CHANNELS]) {
    const [alive, buried] = [model.counted(false, of), model.counted(true, of)];
    const hidden = (messages: readonly Message[]): number => messages.filter((m) => m.hidden && m.count > 0).length;
    const delayed = alive.filter((m) => m.hidden && m.count === 0).length;
    const stats = await queue.stats(of);
    // What died during a purge of the dead letters and is in flight counts as visible until the purge ends.
    const held = stats.dead_in_flight_messages;
    expect(held).toBeLessThanOrEqual(hidden(buried));
    if (model.purge === null) expect(held).toBe(hidden(buried));
    expect({ ...stats, dead_in_flight_messages: held, dead_visible_messages: 0 }).toEqual({
      visible_messages: alive.length - hidden(alive) - delayed,
      in_flight_messages: hidden(alive),
      delayed_messages: delayed,
      size_in_bytes: sum(alive),
      dead_visible_messages: 0,
      dead_in_flight_messages: held,
      dead_size_in_bytes: sum(buried),
    });
    expect(stats.dead_visible_messages + stats.dead_in_flight_messages).toBe(buried.length);
  }
  for (const side of [false, true]) expect(await queue.channels(side)).toEqual(model.channels(side));
  const rows = await queue.rows();
  expect(seen(rows)).toEqual(expected(model.messages.toSorted((x, y) => x.id - y.id)));
  expect(rows.map(({ delivery_limit }) => delivery_limit)).toEqual(
    model.messages.toSorted((x, y) => x.id - y.id).map(({ limit }) => limit),
  );
}

async function expectAgreementOn(history: readonly { readonly label: string; readonly step: Step }[]): Promise<void> {
  await runWorkRequests(run);
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 2 });
  const world: World = { queue, model: new Model(), receipts: [] };
  const done: string[] = [];
  for (const { label, step } of history) {
    done.push(label);
    try {
      await step(world);
      await expectAgreement(world);
    } catch (error) {
      throw new Error(`after: ${done.join('; ')}`, { cause: error });
    }
  }
}

it(
  'agrees with a model of a queue on random histories',
  async () => {
    const histories = fc.array(fc.oneof(...steps), { minLength: 20, maxLength: 50, size: 'max' });
    await fc.assert(fc.asyncProperty(histories, expectAgreementOn), { numRuns: RUNS });
  },
  RUNS * 10_000,
);
