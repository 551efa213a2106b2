import { jest } from '@jest/globals';
import pg from 'pg';
import { Notifications } from '../../src/database/notifications.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { until } from './support.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const log = { warn: () => undefined };

it('sends one statement after another on its connection, its probes included', async () => {
  // pg gathers what is sent meanwhile, warns, and will refuse it from version 9 on.
  const underWay = new WeakMap<pg.Client, number>();
  const most: Record<string, number> = {};
  const { query } = pg.Client.prototype as unknown as { query: (...args: unknown[]) => Promise<unknown> };
  const spy = jest.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const kind = String(args[0]).split(' ', 2).join(' ');
    underWay.set(this, (underWay.get(this) ?? 0) + 1);
    most[kind] = Math.max(most[kind] ?? 0, underWay.get(this) ?? 0);
    return query.apply(this, args).finally(() => underWay.set(this, (underWay.get(this) ?? 0) - 1)) as never;
  });
  const notifications = new Notifications(database.url, log, 1);
  let heard = 0;
  notifications.events.on('message', () => (heard += 1));
  try {
    await notifications.start();
    await Promise.all(Array.from({ length: 200 }, (_, n) => notifications.send({ n })));
    await until(() => heard === 200 && 'NOTIFY towpath_probe,' in most, 'all are heard');
  } finally {
    await notifications.close();
    spy.mockRestore();
  }
  expect(most).toMatchObject({ 'LISTEN towpath': 1, 'NOTIFY towpath,': 1, 'NOTIFY towpath_probe,': 1 });
});

it('goes on after a payload that the server refuses, without another connection', async () => {
  const notifications = new Notifications(database.url, log);
  let listening = 0;
  notifications.events.on('listening', () => (listening += 1));
  const heard: unknown[] = [];
  notifications.events.on('message', (payload) => heard.push(payload));
  await notifications.start();
  await notifications.send({ tooLong: 'x'.repeat(9000) });
  await notifications.send({ n: 1 });
  await until(() => heard.length > 0, 'the next one is heard');
  expect(heard).toEqual([{ n: 1 }]);
  expect(listening).toBe(1);
  await notifications.close();
});
