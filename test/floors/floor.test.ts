import fc from 'fast-check';
import {
  Floor,
  LEAST_CLAIMS,
  LOOK_AT_ALL_AT_MOST_EVERY_MS,
  LOOK_AT_ALL_EVERY_MS,
  LOOK_EVERY_MS,
  type Look,
} from '../../src/messages/floors/floor.js';

const LAG_MS = 1000;

/** A floor beside a clock that the test sets, whose looks end when the test says so. */
class Stage {
  now = 10_000;
  missed = 0;
  readonly looks: { readonly fromMs: number | null; readonly answer: (look: Look | Error) => Promise<void> }[] = [];
  readonly floor = new Floor(
    (fromMs) => {
      const { promise, resolve, reject } = Promise.withResolvers<Look>();
      const answer = async (look: Look | Error): Promise<void> => {
        if (look instanceof Error) reject(look);
        else resolve(look);
        await new Promise((done) => setImmediate(done));
      };
      this.looks.push({ fromMs, answer });
      return promise;
    },
    () => (this.missed += 1),
    () => this.now,
  );

  claim(times = LEAST_CLAIMS): number | null {
    let from: number | null = null;
    for (let n = 0; n < times; n += 1) from = this.floor.forClaim();
    return from;
  }

  /** Claims until a look is under way, which finds this. */
  async look(floorMs: number, lookedAtMs = this.now): Promise<void> {
    this.claim();
    const look = this.looks.shift();
    if (look === undefined) throw new Error('nobody looks');
    await look.answer({ floorMs, lookedAtMs });
  }

  /** A floor that is known. */
  async known(floorMs: number): Promise<void> {
    this.claim();
    this.now += LOOK_EVERY_MS;
    await this.look(floorMs);
  }
}

describe('a floor', () => {
  it('is unknown where there are few claims, which look from the beginning and cost nothing more', () => {
    const stage = new Stage();
    for (let n = 0; n < 100; n += 1) {
      stage.now += LOOK_AT_ALL_EVERY_MS / (LEAST_CLAIMS - 2);
      expect(stage.claim(1)).toBeNull();
    }
    expect(stage.looks).toEqual([]);
  });

  it('is set by a look from the beginning, and raised by looks from where it is', async () => {
    const stage = new Stage();
    await stage.known(9000);
    expect(stage.claim()).toBe(9000);
    stage.now += LOOK_EVERY_MS;
    expect(stage.claim()).toBe(9000);
    expect(stage.looks).toMatchObject([{ fromMs: 9000 }]);
    await stage.looks[0]!.answer({ floorMs: 9200, lookedAtMs: stage.now });
    expect(stage.claim()).toBe(9200);
  });

  it('looks once at a time, and seldom compared with what is claimed', async () => {
    const stage = new Stage();
    await stage.known(9000);
    stage.now += LOOK_EVERY_MS;
    stage.claim(1);
    await stage.looks.shift()!.answer({ floorMs: 9100, lookedAtMs: stage.now });
    stage.now += LOOK_EVERY_MS;
    stage.claim(LEAST_CLAIMS - 1);
    expect(stage.looks).toEqual([]);
    stage.claim(1000);
    expect(stage.looks).toHaveLength(1);
  });

  it('is lowered by a look from the beginning that finds what was missed, and tells', async () => {
    const stage = new Stage();
    await stage.known(9000);
    stage.now += LOOK_AT_ALL_EVERY_MS;
    stage.claim();
    expect(stage.looks).toMatchObject([{ fromMs: null }]);
    await stage.looks[0]!.answer({ floorMs: 5000, lookedAtMs: stage.now });
    expect(stage.claim()).toBe(5000);
    expect(stage.missed).toBe(1);
  });

  it('looks from the beginning also where looks from the floor are due all the time', async () => {
    const stage = new Stage();
    await stage.known(9000);
    const began = stage.now;
    const from: (number | null)[] = [];
    while (stage.now < began + LOOK_AT_ALL_EVERY_MS + 2 * LOOK_EVERY_MS) {
      stage.now += LOOK_EVERY_MS / 10;
      stage.claim();
      const look = stage.looks.shift();
      if (look === undefined) continue;
      from.push(look.fromMs);
      await look.answer({ floorMs: stage.now - LAG_MS, lookedAtMs: stage.now });
    }
    expect(from).toContain(null);
    expect(from.filter((each) => each !== null).length).toBeGreaterThan(3);
  });

  it('drops what a look finds where it was lowered meanwhile', async () => {
    const stage = new Stage();
    await stage.known(9000);
    stage.now += LOOK_EVERY_MS;
    stage.claim();
    stage.floor.lower(7000);
    expect(stage.claim(1)).toBe(7000);
    await stage.looks.shift()!.answer({ floorMs: 9200, lookedAtMs: stage.now });
    expect(stage.claim(1)).toBe(7000);
    // Never raised by that.
    stage.floor.lower(8000);
    expect(stage.claim(1)).toBe(7000);
  });

  it('is unknown when the clock of the database went back', async () => {
    const stage = new Stage();
    await stage.known(9000);
    stage.now += LOOK_EVERY_MS;
    await stage.look(6000, 7000);
    expect(stage.claim(1)).toBeNull();
    stage.claim();
    stage.now += LOOK_AT_ALL_EVERY_MS;
    await stage.look(6100, 7100);
    expect(stage.claim(1)).toBe(6100);
  });

  it('stays where it is while looks fail, and looks again', async () => {
    const stage = new Stage();
    await stage.known(9000);
    for (let n = 0; n < 3; n += 1) {
      stage.now += LOOK_AT_ALL_EVERY_MS;
      stage.claim();
      await stage.looks.shift()!.answer(new Error('the database is away'));
      expect(stage.claim(100)).toBe(9000);
      expect(stage.looks).toEqual([]);
    }
  });

  it('looks from the beginning for at most a twentieth of the time, and once a minute however long that takes', async () => {
    const stage = new Stage();
    stage.claim();
    stage.now += LOOK_EVERY_MS;
    stage.claim();
    stage.now += 300;
    await stage.looks.shift()!.answer({ floorMs: 9000, lookedAtMs: stage.now });
    /** Until the next one from the beginning, while those from the floor fail. */
    const pause = async (): Promise<number> => {
      for (const began = stage.now; ; stage.now += 100) {
        stage.claim();
        const [look] = stage.looks;
        if (look?.fromMs === null) return stage.now - began;
        await stage.looks.shift()?.answer(new Error('not now'));
      }
    };
    expect(await pause()).toBeGreaterThanOrEqual(6000);
    stage.now += 10_000;
    await stage.looks.shift()!.answer({ floorMs: 9000, lookedAtMs: stage.now });
    const last = await pause();
    expect(last).toBeGreaterThanOrEqual(LOOK_AT_ALL_AT_MOST_EVERY_MS);
    expect(last).toBeLessThan(LOOK_AT_ALL_AT_MOST_EVERY_MS + 1000);
  });
});

interface Row {
  readonly visibleAt: number;
  readonly committedAt: number;
}
interface Misses {
  /** Claims that would not have found a message whose commit took no longer than the lag. */
  readonly inTime: number;
  /** For how long after its commit a message was below the floor of a claim, at most. */
  readonly longest: number;
}

/** Puts, claims every 10 ms, and looks that take a while, by a clock of their own. */
async function simulate(
  puts: readonly { readonly everyMs: number; readonly commitMs: number }[],
  lookMs: number,
  bug: { readonly lagMs?: number } = {},
): Promise<Misses> {
  const lagMs = bug.lagMs ?? LAG_MS;
  const rows: Row[] = [];
  let now = 100_000;
  const pending: { readonly until: number; readonly end: () => void }[] = [];
  const look = (fromMs: number | null): Promise<Look> => {
    const lookedAtMs = now;
    const seen = rows.filter(({ committedAt, visibleAt }) => committedAt <= now && visibleAt >= (fromMs ?? 0));
    const floorMs = Math.min(now - lagMs, ...seen.map(({ visibleAt }) => visibleAt));
    const { promise, resolve } = Promise.withResolvers<Look>();
    pending.push({ until: now + lookMs, end: () => resolve({ floorMs, lookedAtMs }) });
    return promise;
  };
  const floor = new Floor(
    look,
    () => undefined,
    () => now,
  );
  let [inTime, longest, n, nextPut] = [0, 0, 0, now];
  while (now < 112_000) {
    now += 10;
    for (const each of pending.splice(0)) {
      if (each.until > now) pending.push(each);
      else each.end();
    }
    await new Promise((done) => setImmediate(done));
    if (now >= nextPut) {
      const put = puts[n % puts.length]!;
      rows.push({ visibleAt: now, committedAt: now + put.commitMs });
      nextPut = now + put.everyMs;
      n += 1;
    }
    const from = floor.forClaim() ?? 0;
    for (const row of rows.filter(({ committedAt }) => committedAt <= now)) {
      if (row.visibleAt < from) {
        longest = Math.max(longest, now - row.committedAt);
        if (row.committedAt - row.visibleAt <= LAG_MS) inTime += 1;
      } else {
        // Delivered, and deleted.
        rows.splice(rows.indexOf(row), 1);
      }
    }
  }
  return { inTime, longest };
}

/** A look from the beginning begins in that time, and ends. */
function bound(lookMs: number): number {
  return Math.max(LOOK_AT_ALL_EVERY_MS, 20 * (lookMs + 20)) + 2 * (lookMs + 20);
}

describe('claims from a floor', () => {
  const put = fc.record({
    everyMs: fc.integer({ min: 10, max: 900 }),
    commitMs: fc.oneof(fc.integer({ min: 0, max: LAG_MS - 20 }), fc.integer({ min: 0, max: 4000 })),
  });
  it('find at once what is committed in time, and all else within the time between looks from the beginning', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(put, { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 0, max: 120 }),
        async (puts, lookMs) => {
          const { inTime, longest } = await simulate(puts, lookMs);
          expect(inTime).toBe(0);
          expect(longest).toBeLessThanOrEqual(bound(lookMs));
        },
      ),
      { numRuns: 25 },
    );
  }, 120_000);

  it('would miss them with a lag that is too short', async () => {
    const { inTime } = await simulate([{ everyMs: 50, commitMs: 900 }], 20, { lagMs: 100 });
    expect(inTime).toBeGreaterThan(0);
  });
});
