import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { EmbeddedPostgresError, errorCode, explainErrorCode } from './embedded-postgres-error.js';
import { runCommand } from './run-command.js';
import type { ServerUser } from './run-command.js';
import { isRoot, userForRoot } from './server-user.js';

/** Where the server lives. Normally the data directory itself; see `chooseHome` for the exception. */
export interface Home {
  readonly directory: string;
  readonly clusterDirectory: string;
  readonly user: ServerUser | undefined;
}

/** Survives a reboot, and root can nearly always write there; the temporary folder is the last resort. */
const FALLBACK_PARENTS = ['/var/lib/towpath', join(tmpdir(), 'towpath')];

/**
 * An ordinary user's server lives in the data directory and runs as that user. Root's server runs as somebody without
 * rights, who must be able to walk to the cluster: below a closed folder (/root, a home directory with mode 0700) it
 * cannot live, and gets a folder elsewhere, named after the data directory. A cluster that exists is always kept to,
 * wherever it is: choosing anew would look like losing all messages.
 */
export async function chooseHome(dataDirectory: string, log: (line: string) => void): Promise<Home> {
  const directory = resolve(dataDirectory);
  refuseShellCharacters(directory);
  makeDirectory(directory, isRoot() ? 0o711 : 0o700);
  if (!isRoot()) return { directory, clusterDirectory: join(directory, 'postgres'), user: undefined };

  const user = userForRoot();
  const name = `${basename(directory)}-${createHash('sha256').update(directory).digest('hex').slice(0, 12)}`;
  const fallbacks = FALLBACK_PARENTS.map((parent) => join(parent, name));
  for (const candidate of [directory, ...fallbacks]) {
    const clusterDirectory = join(candidate, 'postgres');
    if (!existsSync(join(clusterDirectory, 'PG_VERSION'))) continue;
    if (candidate !== directory) log(`The database of ${directory} lives in ${candidate}.`);
    return { directory: candidate, clusterDirectory, user: ownerOf(clusterDirectory) ?? user };
  }
  if ((await canHost(directory, user)) || (await canHostWhenOpened(directory, user))) {
    return { directory, clusterDirectory: join(directory, 'postgres'), user };
  }
  for (const candidate of fallbacks) {
    if (!isMadeByRoot(dirname(candidate), 0o755) || !isMadeByRoot(candidate, 0o711)) continue;
    if (!(await canHost(candidate, user))) continue;
    log(
      `You are root, PostgreSQL does not run as root, and the user it runs as (${user.uid}) cannot reach ${directory}. ` +
        `The database lives in ${candidate} instead; delete that folder too when you delete the data directory.`,
    );
    return { directory: candidate, clusterDirectory: join(candidate, 'postgres'), user };
  }
  throw new EmbeddedPostgresError(
    `you are root, PostgreSQL does not run as root, and the user it would run as (${user.uid}) can reach neither ` +
      `${directory} nor ${fallbacks.join(' nor ')}. (Or root may not ` +
      `change to another user here: some containers run that way.) Start Towpath as an ordinary user, or set ` +
      `TOWPATH_DATA_DIR to a folder that every user may walk to.`,
  );
}

function makeDirectory(directory: string, mode: number): void {
  try {
    if (existsSync(directory)) {
      readdirSync(directory);
    } else {
      makeWithParents(directory);
      // Not as mkdir's mode: that would hold for the parents too, and the umask would take from it.
      chmodSync(directory, mode);
    }
    rmSync(mkdtempSync(join(directory, 'postgres.probe-')), { recursive: true });
  } catch (error) {
    throw new EmbeddedPostgresError(
      `cannot use the data directory ${directory}: ${explainErrorCode(error)}. ` +
        `Set TOWPATH_DATA_DIR to a folder that this user may write to.`,
      { cause: error },
    );
  }
}

/** mkdir's own `recursive` says ENOENT for a read-only file system, and nobody would know what to do. */
function makeWithParents(directory: string): void {
  const parent = dirname(directory);
  if (!existsSync(parent)) makeWithParents(parent);
  try {
    mkdirSync(directory);
  } catch (error) {
    // Another app that starts at the same time was quicker.
    if (errorCode(error) !== 'EEXIST' || !statSync(directory).isDirectory()) throw error;
  }
}

/** pg_ctl hands these paths to a shell between double quotes; these characters would not stay themselves. */
function refuseShellCharacters(directory: string): void {
  if (!/["$`\n]/.test(directory)) return;
  throw new EmbeddedPostgresError(
    `the path of the data directory has a character that PostgreSQL's tools cannot handle (" $ \` or a line break): ` +
      `${directory}. Set TOWPATH_DATA_DIR to another path.`,
  );
}

function ownerOf(path: string): ServerUser | undefined {
  const { uid, gid } = statSync(path);
  return uid === 0 ? undefined : { uid, gid };
}

/** Tried, not computed from mode bits: access lists, mount options and file systems that fake owners all have a say. */
async function canHost(directory: string, user: ServerUser): Promise<boolean> {
  const probe = mkdtempSync(join(directory, 'postgres.probe-'));
  try {
    chownSync(probe, user.uid, user.gid);
    const { status } = await runCommand('/bin/sh', ['-c', 'cd "$1" && : > file', 'sh', probe], { user });
    return status === 0 && statSync(probe).uid === user.uid && statSync(join(probe, 'file')).uid === user.uid;
  } catch {
    // chown refused (a network share), or no file came to be: not a place for the cluster.
    return false;
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
}

/**
 * A data directory with nothing of anybody else's in it (made by mkdtemp, say: 0700) may be opened for walking through,
 * not for listing. Never one with other content: somebody may have set TOWPATH_DATA_DIR=/root.
 */
async function canHostWhenOpened(directory: string, user: ServerUser): Promise<boolean> {
  const { mode, uid } = statSync(directory);
  if (uid !== 0 || readdirSync(directory).some((name) => !name.startsWith('postgres'))) return false;
  chmodSync(directory, mode | 0o011);
  if (await canHost(directory, user)) return true;
  chmodSync(directory, mode);
  return false;
}

/** Makes a fallback folder. One that another user made (the temporary folder is everybody's) is not to be trusted. */
function isMadeByRoot(directory: string, mode: number): boolean {
  try {
    // The umask would take from mkdir's mode.
    if (mkdirSync(directory, { recursive: true }) !== undefined) chmodSync(directory, mode);
    const status = lstatSync(directory);
    return status.isDirectory() && status.uid === 0;
  } catch {
    // Read-only, or a file is in the way: the next candidate.
    return false;
  }
}
