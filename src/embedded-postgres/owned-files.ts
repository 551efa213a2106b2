import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { isRoot } from './server-user.js';

/*
 * Files and folders belong to whoever owns the folder they are in. Otherwise one `sudo npm start` on an ordinary user's
 * data directory would leave files there that this user can never read or replace again.
 */

/** Replaces a file as a whole, so that a crash leaves the old one or the new one. The mode holds whatever the umask. */
export function writeOwnedFile(
  file: string,
  content: string,
  mode: number,
  options: { readonly draft?: string; readonly flush?: boolean } = {},
): void {
  const draft = options.draft ?? `${file}.draft`;
  writeFileSync(draft, content, { mode, flush: options.flush ?? false });
  chmodSync(draft, mode);
  giveToFolderOwner(draft);
  renameSync(draft, file);
}

export function makeOwnedFolder(folder: string): void {
  if (existsSync(folder)) return;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  giveToFolderOwner(folder);
}

function giveToFolderOwner(path: string): void {
  if (!isRoot()) return;
  const { uid, gid } = statSync(dirname(path));
  chownSync(path, uid, gid);
}
