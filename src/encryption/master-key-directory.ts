import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { LocalMasterKeys, readMasterKey, type LocalMasterKey } from './local-master-key.js';

/** How long what was read may be used before the directory is looked at again. */
const LOOK_EVERY_MS = 500;
const NAME = /^([A-Za-z0-9][A-Za-z0-9._-]{0,199})\.key$/;

/**
 * Master keys in a directory, one per file: the id is the name without `.key`. It is read again when it changes, so a
 * key is disabled by renaming or removing its file, and enabled by putting it back. A key is found by its fingerprint
 * too, so that one that was given by TOWPATH_MASTER_KEY can go on here under any name.
 */
export class MasterKeyDirectory extends LocalMasterKeys {
  private keys = new Map<string, LocalMasterKey>();
  private seen = '';
  private lookAt = -Infinity;

  constructor(
    private readonly directory: string,
    private readonly warn: (message: string) => void,
  ) {
    super();
  }

  protected find(id: string): LocalMasterKey | null {
    this.look();
    return this.keys.get(id) ?? null;
  }

  private look(): void {
    const now = performance.now();
    if (now < this.lookAt) return;
    this.lookAt = now + LOOK_EVERY_MS;
    const files = this.list();
    const seen = JSON.stringify(files);
    if (seen === this.seen) return;
    this.seen = seen;
    const keys = new Map<string, LocalMasterKey>();
    for (const { id, file } of files) {
      const key = this.read(file);
      if (key === null) continue;
      keys.set(id, key);
      if (!keys.has(key.fingerprint)) keys.set(key.fingerprint, key);
    }
    this.keys = keys;
  }

  private list(): { readonly id: string; readonly file: string; readonly state: string }[] {
    try {
      return readdirSync(this.directory)
        .toSorted()
        .flatMap((name) => {
          const id = NAME.exec(name)?.[1];
          if (id === undefined) return [];
          const file = path.join(this.directory, name);
          const { mtimeMs, ctimeMs, size, ino } = statSync(file);
          return [{ id, file, state: `${mtimeMs} ${ctimeMs} ${size} ${ino}` }];
        });
    } catch (error) {
      // Gone, or it changes at this moment: the next look tells. Without it there are no keys.
      this.warn(`TOWPATH_MASTER_KEY_DIRECTORY cannot be read: ${String(error)}`);
      return [];
    }
  }

  private read(file: string): LocalMasterKey | null {
    let key: LocalMasterKey | null = null;
    try {
      key = readMasterKey(readFileSync(file, 'utf8'));
    } catch (error) {
      this.warn(`the master key ${file} cannot be read: ${String(error)}`);
      return null;
    }
    if (key === null) this.warn(`the master key ${file} is not used: it must hold 32 bytes in base64`);
    return key;
  }
}
