import fc from 'fast-check';
import pg from 'pg';
import { parseTimestamp } from '../../src/database/timestamps.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const anyForm = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ) as (text: string) => Date | number;

describe('timestamps as the pool reads them', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
    await test.sql(`alter role current_user set timezone = 'Asia/Kathmandu'`);
  });
  afterAll(() => test.drop());

  it('are those that PostgreSQL means, to the millisecond, whatever the time zone of the role', async () => {
    const times = fc.sample(
      fc.date({ min: new Date('0100-01-01'), max: new Date('9999-12-30'), noInvalidDate: true }),
      300,
    );
    const rows = await test.database.run<{ time: Date; zone: string }>(
      {
        name: 'times',
        text: `select time, current_setting('timezone') as zone from unnest($1::timestamptz[]) time`,
      },
      [times.map((time) => time.toISOString())],
    );
    expect(rows.map(({ time }) => time.getTime())).toEqual(times.map((time) => time.getTime()));
    expect(new Set(rows.map(({ zone }) => zone))).toEqual(new Set(['UTC']));
  });

  it('are what pg makes of them, in every form that PostgreSQL writes', () => {
    const fractions = fc.option(fc.integer({ min: 1, max: 999_999 }).map((micros) => String(micros).padStart(6, '0')));
    const zones = fc.constantFrom('+00', '+00', '+05:45', '-03', '+00:30');
    const times = fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-30'), noInvalidDate: true });
    fc.assert(
      fc.property(times, fractions, zones, fc.constantFrom('', '', ' BC'), (time, fraction, zone, era) => {
        const [date, clock = ''] = time.toISOString().split('T');
        const digits = fraction === null ? '' : `.${fraction.replace(/0+$/, '')}`;
        const text = `${date} ${clock.slice(0, 8)}${digits}${zone}${era}`;
        expect(Number(parseTimestamp(text))).toBe(Number(anyForm(text)));
      }),
    );
    for (const text of ['infinity', '-infinity', '10000-01-01 00:00:00+00', '294276-12-31 23:59:59.999999+00']) {
      expect(Number(parseTimestamp(text))).toBe(Number(anyForm(text)));
    }
  });
});
