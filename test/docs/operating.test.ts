import { createTestDatabase } from '../support/database.js';
import { marked } from './documents.js';

it('the statements on vacuum run as they stand there', async () => {
  const database = await createTestDatabase();
  try {
    const statements = marked('vacuum', 'docs/operating.md').split(';\n');
    const tables: unknown[] = [];
    for (const statement of statements) tables.push(await database.sql(statement));
    expect(tables).toHaveLength(5);
    expect(tables[0]).toHaveLength(8);
    expect(tables[1]).toEqual([expect.objectContaining({ stored: expect.stringMatching(/ kB$/) })]);
    expect(tables[3]).toContainEqual(expect.objectContaining({ relname: 'message' }));
    expect(tables[4]).toContainEqual(expect.objectContaining({ name: 'autovacuum_naptime' }));
  } finally {
    await database.drop();
  }
});
