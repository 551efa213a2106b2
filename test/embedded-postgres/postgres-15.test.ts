import { existsSync } from 'node:fs';
import { query, Workspace } from './support.js';

const binDirectory = '/usr/lib/postgresql/15/bin';
const whereInstalled = existsSync(binDirectory) ? describe : describe.skip;

let workspace: Workspace;
beforeEach(() => {
  workspace = new Workspace();
});
afterEach(() => workspace.dispose());

whereInstalled('PostgreSQL 15 of the system', () => {
  it('serves as well', async () => {
    const dataDirectory = workspace.folder();
    const first = await workspace.start({ dataDirectory, binDirectory });
    expect(await query(first.url, `select current_setting('server_version_num')::int / 10000`)).toEqual([[15]]);
    const database = `select pg_encoding_to_char(encoding), datcollate from pg_database where datname = current_database()`;
    expect(await query(first.url, database)).toEqual([['UTF8', 'C']]);
    await query(first.url, 'create table kept (n integer)');
    await first.restart();
    expect(await query(first.url, 'select count(*)::int from kept')).toEqual([[0]]);
    await first.stop();
    await expect(workspace.start({ dataDirectory })).rejects.toThrow(/made by PostgreSQL 15.*are PostgreSQL 18/);
  });
});
