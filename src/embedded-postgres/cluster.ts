import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Binaries } from './binaries.js';
import { EmbeddedPostgresError, saysDiskFull } from './embedded-postgres-error.js';
import type { Home } from './home.js';
import { writeOwnedFile } from './owned-files.js';
import { lastLines, runCommand } from './run-command.js';

const DRAFT_PREFIX = 'postgres.new-';
const SETTINGS_FILE = 'towpath.conf';

/*
 * Durable as PostgreSQL is by default; the rest keeps the server small and its log short and bounded: one file per weekday,
 * overwritten a week later. Failed statements are not logged (log_min_messages = log): the pod gets every error itself,
 * and statements may hold what users put into messages. Autovacuum looks four times a minute instead of once, so that tables stay
 * as small as what lives in that time, for the same work (docs/performance.md, "Tables"). More often an idle server would be busy with looking.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'on',
  synchronous_commit: 'on',
  autovacuum_naptime: '15s',
  max_connections: '100',
  cluster_name: 'towpath',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  log_checkpoints: 'off',
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  logging_collector: 'on',
  log_directory: 'log',
  log_filename: 'postgresql-%a.log',
  log_rotation_age: '1d',
  log_rotation_size: '0',
  log_truncate_on_rotation: 'on',
};

/**
 * Makes the cluster: in a draft folder that is renamed when all is done, so that a crash, a full disk or Ctrl-C never
 * leaves half a cluster under the final name. Called under the start lock.
 */
export async function createCluster(home: Home, binaries: Binaries, superuserPassword: string): Promise<void> {
  const draft = mkdtempSync(join(home.directory, DRAFT_PREFIX));
  const passwordFile = join(draft, 'password');
  const cluster = join(draft, 'cluster');
  writeFileSync(passwordFile, superuserPassword, { mode: 0o600 });
  if (home.user !== undefined) {
    for (const path of [draft, passwordFile]) chownSync(path, home.user.uid, home.user.gid);
  }
  // "C" sorts by code point everywhere. Only the builtin provider, since 17, also knows upper and lower case then.
  const locale =
    binaries.majorVersion >= 17
      ? ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
      : ['--locale=C'];
  try {
    const { status, output } = await runCommand(
      binaries.initdb,
      [
        '--pgdata',
        cluster,
        '--username=postgres',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        ...locale,
      ],
      { user: home.user, directory: home.directory },
    );
    if (status !== 0) throw new EmbeddedPostgresError(explainInitdb(home.directory, output));
    appendFileSync(
      join(cluster, 'postgresql.conf'),
      `\n# Written by Towpath at every start. For settings of your own use ALTER SYSTEM, which wins over this file.\n` +
        `include_if_exists '${SETTINGS_FILE}'\n`,
    );
    renameSync(cluster, home.clusterDirectory);
  } finally {
    removeDrafts(home);
  }
}

/** Whether there is a cluster. A folder of that name with something else in it is refused. */
export function hasCluster(home: Home): boolean {
  const directory = home.clusterDirectory;
  if (existsSync(join(directory, 'PG_VERSION'))) return true;
  if (!existsSync(directory) || readdirSync(directory).length === 0) return false;
  throw new EmbeddedPostgresError(
    `${directory} exists but holds no PostgreSQL database. Move it away, or set TOWPATH_DATA_DIR to another folder.`,
  );
}

/** Refuses a cluster that another major version made: PostgreSQL cannot read it, and says so less plainly. */
export function checkVersion(home: Home, binaries: Binaries): void {
  const version = Number(readFileSync(join(home.clusterDirectory, 'PG_VERSION'), 'utf8'));
  if (version === binaries.majorVersion) return;
  throw new EmbeddedPostgresError(
    `${home.clusterDirectory} was made by PostgreSQL ${version}, but the binaries are PostgreSQL ${binaries.majorVersion}. ` +
      `Use the old version, or move the data with pg_dump, or delete the folder if you do not need the data.`,
  );
}

export function writeSettings(home: Home, settings: Readonly<Record<string, string>>): void {
  const lines = Object.entries({ ...SETTINGS, ...settings }).map(([name, value]) => {
    if (!/^[a-z_][a-z0-9_.]*$/i.test(name) || /[\r\n]/.test(value)) {
      throw new EmbeddedPostgresError(
        `${name} = ${value} cannot be written into a configuration file. Correct the settings.`,
      );
    }
    return `${name} = '${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'\n`;
  });
  writeOwnedFile(join(home.clusterDirectory, SETTINGS_FILE), lines.join(''), 0o600);
}

/**
 * Sets the superuser's password without knowing the old one, for when the file with the passwords was deleted but the
 * cluster was not. The server must not run: single-user mode is PostgreSQL's own way for this.
 */
export async function resetSuperuserPassword(home: Home, binaries: Binaries, password: string): Promise<void> {
  const { status, output } = await runCommand(
    binaries.postgres,
    ['--single', '-D', home.clusterDirectory, '-c', 'logging_collector=off', 'postgres'],
    { user: home.user, directory: home.directory, input: `alter role postgres password '${password}'\n` },
  );
  if (status === 0) return;
  throw new EmbeddedPostgresError(
    `the file with its passwords is gone and new ones could not be set:\n${lastLines(output)}\n` +
      `Delete ${home.clusterDirectory} if you do not need the data.`,
  );
}

/** Removes what interrupted first starts left. Called under the start lock, at every start. */
export function removeDrafts(home: Home): void {
  for (const name of readdirSync(home.directory)) {
    if (!name.startsWith(DRAFT_PREFIX)) continue;
    try {
      rmSync(join(home.directory, name), { recursive: true, force: true });
    } catch {
      // The initdb of a killed app is still writing there; it ends within a second, and the next start sweeps again.
    }
  }
}

function explainInitdb(directory: string, output: string): string {
  if (saysDiskFull(output)) {
    return `cannot make the database in ${directory}: the disk is full. It needs about 60 MB; free some space.`;
  }
  return `cannot make the database in ${directory}, initdb failed:\n${lastLines(output)}\n`;
}
