import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Client } from 'pg';
import { findBinaries } from '../../src/embedded-postgres/binaries.js';
import { chooseHome } from '../../src/embedded-postgres/home.js';
import { startOrAdopt } from '../../src/embedded-postgres/postmaster.js';
import { readState } from '../../src/embedded-postgres/server-state.js';
import { until } from './child-app.js';
import { query, Workspace } from './support.js';

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

async function connect(url: string): Promise<{ client: Client; backend: number }> {
  const client = new Client({ connectionString: url, ssl: false });
  client.on('error', () => undefined);
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return { client, backend: rows[0]?.pid ?? 0 };
}

describe('a server that was killed', () => {
  it('is started again and has what was committed', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const server = await workspace.start({ dataDirectory });
    await query(server.url, 'create table kept as select 1 as n');
    process.kill(server.processId, 'SIGKILL');
    await server.restart();
    expect(await query(server.url, 'select n from kept')).toEqual([[1]]);
  });

  it('is waited for while its backends hold the shared memory, with a bound', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const server = await workspace.start({ dataDirectory });
    const { client, backend } = await connect(server.url);
    // Stopped, it cannot notice that its postmaster died: what a long computation does for real.
    process.kill(backend, 'SIGSTOP');
    process.kill(server.processId, 'SIGKILL');
    const lines: string[] = [];
    const log = (line: string): unknown => lines.push(line);
    try {
      const home = await chooseHome(dataDirectory, log);
      const binaries = await findBinaries(home, undefined, log);
      const bounds = { leavingMilliseconds: 300, startingMilliseconds: 10_000 };
      const options = { port: server.port, otherPortAllowed: true, log, bounds, beforeStart: () => undefined };
      await expect(startOrAdopt(home, binaries, options)).rejects.toThrow(
        /processes of a server that was killed still hold its memory.*end them.*DATABASE_URL/s,
      );
      lines.length = 0;
      const starting = workspace.start({ dataDirectory, log });
      await until(
        () => lines.some((line) => line.startsWith('Waiting: processes of a server')),
        'it says that it waits',
      );
      process.kill(backend, 'SIGCONT');
      const again = await starting;
      expect(await query(again.url, 'select 1')).toEqual([[1]]);
    } finally {
      try {
        process.kill(backend, 'SIGKILL');
      } catch {
        // It has noticed by itself that its postmaster is gone, and ended.
      }
      await client.end();
    }
  });

  it('does not confuse the next start when its pid belongs to another program', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const server = await workspace.start({ dataDirectory });
    const file = join(dataDirectory, 'postgres', 'postmaster.pid');
    const content = readFileSync(file, 'utf8');
    await server.stop();
    writeFileSync(file, content.replace(/^\d+/, String(process.pid)));
    const again = await workspace.start({ dataDirectory });
    expect(await query(again.url, 'select 1')).toEqual([[1]]);
  });
});

describe('a port that another program took', () => {
  it('is given up for another, which is remembered', async () => {
    const dataDirectory = workspace.initialisedFolder(template);
    const port = readState(join(dataDirectory, 'postgres.json'))?.port ?? 0;
    const foreign = createServer().listen(port, '127.0.0.1');
    const lines: string[] = [];
    try {
      const server = await workspace.start({ dataDirectory, log: (line) => lines.push(line) });
      expect(server.port).not.toBe(port);
      expect(lines).toEqual([
        `Port ${port} is taken by another program; the database listens on port ${server.port} from now on.`,
      ]);
      expect(await query(server.url, 'select 1')).toEqual([[1]]);
      await server.stop();
      const again = await workspace.start({ dataDirectory });
      expect(again.url).toBe(server.url);
    } finally {
      foreign.close();
    }
  });
});
