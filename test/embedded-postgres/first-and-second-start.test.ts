import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isProcessAlive } from '../../src/embedded-postgres/process-identity.js';
import { expectNoProcessIn, query, Workspace } from './support.js';

let workspace: Workspace;
let templates: Workspace;
let template: string;
beforeAll(async () => {
  templates = new Workspace();
  template = templates.folder();
  const server = await templates.start({ dataDirectory: template });
  await server.stop();
});
afterAll(() => templates.dispose());
beforeEach(() => {
  workspace = new Workspace();
});
afterEach(() => workspace.dispose());

describe('the embedded server', () => {
  it('makes a database at the first start, and finds it again at the second', async () => {
    const dataDirectory = join(workspace.folder(), 'made', 'when missing');
    const lines: string[] = [];
    const first = await workspace.start({ dataDirectory, log: (line) => lines.push(line) });
    expect(lines).toEqual([expect.stringMatching(/^First start: making a PostgreSQL 18 database in /)]);
    expect(first.clusterDirectory).toBe(join(dataDirectory, 'postgres'));
    await query(first.url, 'create table kept (n integer)');
    await first.stop();
    await expectNoProcessIn(dataDirectory);

    // What initdb wrote is not written again.
    const madeAt = (): number => statSync(join(dataDirectory, 'postgres', 'PG_VERSION')).ctimeMs;
    const before = madeAt();
    const second = await workspace.start({ dataDirectory, log: (line) => lines.push(line) });
    expect(madeAt()).toBe(before);
    expect(lines).toHaveLength(1);
    expect([second.url, second.superuserUrl]).toEqual([first.url, first.superuserUrl]);
    expect(await query(second.url, 'select count(*)::int from kept')).toEqual([[0]]);
    await second.stop();
    await second.stop();
    expect(existsSync(join(dataDirectory, 'postgres', 'postmaster.pid'))).toBe(false);
  });

  it('gives an ordinary role that owns the database, in UTF-8 sorted by code point', async () => {
    const server = await workspace.start({ dataDirectory: workspace.initialisedFolder(template) });
    const rights = 'select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = current_user';
    expect(await query(server.url, rights)).toEqual([[false, false, false]]);
    expect(await query(server.superuserUrl, rights)).toEqual([[true, true, true]]);
    const database = `select pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider, datlocale
                        from pg_database where datname = current_database()`;
    expect(await query(server.url, database)).toEqual([['towpath', 'UTF8', 'b', 'C.UTF-8']]);
    expect(await query(server.url, `select 'a' < 'B', upper('é')`)).toEqual([[false, 'É']]);
  });

  it('listens on 127.0.0.1 only, asks for a password and writes durably', async () => {
    const dataDirectory = workspace.folder();
    const server = await workspace.start({ dataDirectory, settings: {} });
    const settings = `select current_setting('listen_addresses'), current_setting('unix_socket_directories'),
                             current_setting('fsync'), current_setting('synchronous_commit'), current_setting('autovacuum_naptime')`;
    expect(await query(server.superuserUrl, settings)).toEqual([['127.0.0.1', '', 'on', 'on', '15s']]);
    await expect(query(server.url.replace(/:[^:@]*@/, ':wrong@'), 'select 1')).rejects.toThrow(/password/);
    expect(statSync(join(dataDirectory, 'postgres.json')).mode & 0o777).toBe(0o600);
    expect(readdirSync(dataDirectory).filter((name) => /new-|probe-|draft/.test(name))).toEqual([]);
  });

  it('takes settings, quoted as they are', async () => {
    const server = await workspace.start({
      dataDirectory: workspace.initialisedFolder(template),
      settings: { fsync: 'off', cluster_name: `it's a \\ name`, max_connections: '20' },
    });
    const settings = `select current_setting('cluster_name'), current_setting('max_connections')`;
    expect(await query(server.url, settings)).toEqual([[`it's a \\ name`, '20']]);
  });

  it('restarts on the same port and directory', async () => {
    const server = await workspace.start({ dataDirectory: workspace.initialisedFolder(template) });
    const before = server.processId;
    await query(server.url, 'create table kept (n integer)');
    await server.restart();
    expect(server.processId).not.toBe(before);
    expect(await query(server.url, 'select count(*)::int from kept')).toEqual([[0]]);
    await server.stop();
    await expect(server.restart()).rejects.toThrow(/was stopped/);
  });

  it('sets new passwords when the file with them is gone', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const first = await workspace.start({ dataDirectory });
    await query(first.url, 'create table kept (n integer)');
    await first.stop();
    rmSync(join(dataDirectory, 'postgres.json'));
    const second = await workspace.start({ dataDirectory });
    expect(second.url).not.toBe(first.url);
    expect(await query(second.url, 'select count(*)::int from kept')).toEqual([[0]]);
  });

  it('names both versions when another one made the database', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const server = await workspace.start({ dataDirectory });
    await server.stop();
    const file = join(dataDirectory, 'postgres', 'PG_VERSION');
    expect(readFileSync(file, 'utf8').trim()).toBe('18');
    writeFileSync(file, '12\n');
    await expect(workspace.start({ dataDirectory })).rejects.toThrow(
      /made by PostgreSQL 12.*are PostgreSQL 18.*DATABASE_URL/s,
    );
  });

  it('is stopped even when its folder was deleted under it', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const server = await workspace.start({ dataDirectory });
    rmSync(dataDirectory, { recursive: true, force: true });
    await server.stop();
    expect(isProcessAlive(server.processId)).toBe(false);
  });
});
