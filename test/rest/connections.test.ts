import { createTestDatabase, type TestDatabase } from '../support/database.js';

describe('a connection of the pool', () => {
  let test: TestDatabase;

  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(async () => {
    await test.drop();
  });

  /*
   * pg throws while it turns values into text, after half of the statement is on its way; whoever used that connection
   * next was answered with an error about the statement before.
   */
  it('is not used again after a value could not be sent', async () => {
    const statement = { name: 'echo', text: 'select $1::jsonb as value' };
    const deep: unknown[] = [];
    let inner = deep;
    for (let depth = 0; depth < 100_000; depth += 1) {
      const next: unknown[] = [];
      inner.push(next);
      inner = next;
    }
    for (let round = 0; round < 5; round += 1) {
      await expect(test.database.run(statement, [{ deep }])).rejects.toThrow(/stack/);
      // In parallel, so that all connections of the pool have their turn.
      const rows = await Promise.all(
        Array.from({ length: 20 }, (_, index) => test.database.run<{ value: unknown }>(statement, [{ index }])),
      );
      expect(rows.map(([row]) => row?.value)).toEqual(Array.from({ length: 20 }, (_, index) => ({ index })));
    }
  });

  it('is used again after the server has said no', async () => {
    const pid = { name: 'pid', text: 'select pg_backend_pid() as pid' };
    const [before] = await test.database.run<{ pid: number }>(pid, []);
    await expect(test.database.run({ name: 'no', text: 'select 1 / $1::integer' }, [0])).rejects.toMatchObject({
      code: '22012',
    });
    const [after] = await test.database.run<{ pid: number }>(pid, []);
    expect(typeof before?.pid).toBe('number');
    expect(after).toBeDefined();
  });
});
