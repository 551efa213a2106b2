import { paced } from './pace.js';

it('a pace is kept by all together, and what was left unused is gone', async () => {
  let now = 0;
  const waits: number[] = [];
  const wait = async (ms: number): Promise<void> => {
    waits.push(ms);
  };
  const pace = paced(100, () => now, wait);
  // The first need not wait for what it puts itself, the others wait for all before them.
  await Promise.all([pace(20), pace(1), pace(5)]);
  expect(waits).toEqual([200, 210]);
  // An hour later there is no hour's worth of messages.
  now = 3_600_000;
  await Promise.all([pace(20), pace(1)]);
  expect(waits).toEqual([200, 210, 200]);
});
