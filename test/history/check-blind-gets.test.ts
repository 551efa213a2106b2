import { BlindGets } from './check/blind-gets.js';
import { aborted, HAND_MADE_RULES } from './hand-made.js';
import type { GetCall } from './history.js';
import { between, pick, range } from './random.js';

/** As the definition has it: of each get, whether it can have delivered something of the channel in that time. */
function byDefinition(gets: readonly GetCall[], since: number, until: number, channelId: string): GetCall[] {
  const { clockToleranceMs, lingerMs } = HAND_MADE_RULES;
  return gets.filter(
    (get) =>
      (get.channelId === null || get.channelId === channelId) &&
      get.calledAt - clockToleranceMs <= until &&
      get.answeredAt + lingerMs + clockToleranceMs >= since,
  );
}

it('blind gets are found by their times and channels, all and only those that count', () => {
  const gets = range(300).map(() => {
    const calledAt = between(0, 60_000);
    return aborted(calledAt, {
      answeredAt: calledAt + between(0, pick([10, 1000, 20_000])),
      channelId: pick([null, 'amber', 'blue']),
    });
  });
  const blind = new BlindGets(gets, HAND_MADE_RULES);
  expect(new Set(blind.all)).toEqual(new Set(gets));
  let found = 0;
  for (const _ of range(500)) {
    const since = between(-1000, 65_000);
    const until = pick([since, since + between(0, 5000), Infinity]);
    const some = blind.between(since, until, 'amber');
    expect(new Set(some)).toEqual(new Set(byDefinition(gets, since, until, 'amber')));
    expect(new Set(some).size).toBe(some.length);
    found += some.length;
  }
  expect(found).toBeGreaterThan(500);
  expect(new BlindGets([], HAND_MADE_RULES).between(0, Infinity, '')).toEqual([]);
});
