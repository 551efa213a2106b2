import { CredentialCache } from '../../src/identity/credential-cache.js';

/** A cache over a set of existing names, whose loads are counted and end when the test says so. */
function setup(
  existing: readonly string[] = ['a'],
  held = false,
): {
  cache: CredentialCache<string, string>;
  loads: (readonly string[])[];
  clock: { now: number };
  existing: Set<string>;
  readonly release: () => void;
} {
  const known = new Set(existing);
  const loads: (readonly string[])[] = [];
  const clock = { now: 0 };
  let releases: (() => void)[] = [];
  const cache = new CredentialCache<string, string>(
    async (wanted) => {
      loads.push(wanted);
      if (held) await new Promise<void>((resolve) => releases.push(resolve));
      if (wanted.includes('broken')) throw new Error('no database');
      return new Map(wanted.filter((name) => known.has(name)).map((name) => [name, name.toUpperCase()]));
    },
    () => clock.now,
  );
  const release = (): void => {
    const now = releases;
    releases = [];
    for (const resolve of now) resolve();
  };
  return { cache, loads, clock, existing: known, release };
}

const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

it('remembers what it found for two seconds, then notices that it is gone', async () => {
  const { cache, loads, clock, existing } = setup();
  expect(await cache.get('a', 'a')).toBe('A');
  existing.delete('a');
  clock.now = 1_999;
  expect(await cache.get('a', 'a')).toBe('A');
  expect(loads).toHaveLength(1);
  clock.now = 2_000;
  expect(await cache.get('a', 'a')).toBeNull();
});

it('forgets what it is told to, and only that', async () => {
  const { cache, loads, existing } = setup(['a', 'b']);
  await Promise.all(['a', 'b'].map((name) => cache.get(name, name)));
  existing.clear();
  cache.forget((name, value) => name === 'a' && value === 'A');
  expect(await cache.get('a', 'a')).toBeNull();
  expect(await cache.get('b', 'b')).toBe('B');
  cache.forget();
  expect(await cache.get('b', 'b')).toBeNull();
  expect(loads.flat()).toEqual(['a', 'b', 'a', 'b']);
});

it('does not remember what was looked up while it was told to forget: it may be what was revoked', async () => {
  const { cache, loads, release } = setup(['a'], true);
  const first = cache.get('a', 'a');
  cache.forget((name) => name === 'a');
  release();
  expect(await first).toBe('A');
  const second = cache.get('a', 'a');
  release();
  expect(await second).toBe('A');
  expect(await cache.get('a', 'a')).toBe('A');
  expect(loads).toEqual([['a'], ['a']]);
});

it('remembers what is missing for half a second, then notices that it is there', async () => {
  const { cache, loads, clock, existing } = setup([]);
  expect(await cache.get('a', 'a')).toBeNull();
  existing.add('a');
  clock.now = 499;
  expect(await cache.get('a', 'a')).toBeNull();
  expect(loads).toHaveLength(1);
  clock.now = 500;
  expect(await cache.get('a', 'a')).toBe('A');
});

it('counts the two seconds from before the look-up', async () => {
  const { cache, loads, clock, release } = setup(['a'], true);
  const first = cache.get('a', 'a');
  clock.now = 1_500;
  release();
  await first;
  clock.now = 2_000;
  const second = cache.get('a', 'a');
  release();
  await second;
  expect(loads).toHaveLength(2);
});

it('shares one look-up among those who ask for the same, and one statement among those who ask meanwhile', async () => {
  const { cache, loads, release } = setup(['a', 'b', 'c', 'd'], true);
  const answers = ['a', 'a', 'b', 'c', 'x', 'd', 'c'].map((name) => cache.get(name, name));
  while (loads.length < 3) {
    release();
    await turn();
  }
  release();
  expect(await Promise.all(answers)).toEqual(['A', 'A', 'B', 'C', null, 'D', 'C']);
  expect(loads).toEqual([['a'], ['b'], ['c', 'x', 'd']]);
});

it('keeps a flood of wrong keys to two statements at a time and to a bounded memory, and right keys working', async () => {
  const { cache, loads, clock, release } = setup(['right'], true);
  const done = new Set<string>();
  const ask = (name: string): Promise<unknown> => cache.get(name, name).finally(() => done.add(name));
  const answers = Array.from({ length: 20_000 }, (_, index) => ask(`wrong-${index}`));
  expect(loads).toHaveLength(2);
  answers.push(ask('right'));
  for (let rounds = 0; done.size < 20_001; rounds += 1) {
    const before = loads.length;
    release();
    await turn();
    expect(loads.length - before).toBeLessThanOrEqual(2);
    expect(rounds).toBeLessThan(100);
  }
  await Promise.all(answers);
  expect(Math.max(...loads.map((load) => load.length))).toBeLessThanOrEqual(500);
  expect(cache.size).toBeLessThanOrEqual(10_001);
  const before = loads.length;
  expect(await cache.get('right', 'right')).toBe('RIGHT');
  expect(loads).toHaveLength(before);
  clock.now = 10_000;
});

it('tells the callers of a failed look-up, remembers nothing of it, and goes on', async () => {
  const { cache, loads } = setup();
  await expect(cache.get('broken', 'broken')).rejects.toThrow('no database');
  await expect(cache.get('broken', 'broken')).rejects.toThrow('no database');
  expect(loads).toHaveLength(2);
  expect(await cache.get('a', 'a')).toBe('A');
  expect(cache.size).toBe(1);
});
