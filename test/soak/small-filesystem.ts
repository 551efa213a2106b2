import { execFile } from 'node:child_process';
import { mkdir, statfs } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const FILL_ATTEMPTS = 50;

/** A file system in memory for one soak, whose size can be changed while it is in use (Linux, as root). */
export class SmallFilesystem {
  private constructor(
    readonly directory: string,
    private readonly sizeMib: number,
  ) {}

  /** A text says why there can be none. */
  static async mount(directory: string, sizeMib: number): Promise<SmallFilesystem | string> {
    if (process.platform !== 'linux') return 'a file system of its own is mounted on Linux only';
    if (process.getuid?.() !== 0) return 'only root may mount a file system';
    await mkdir(directory);
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m,mode=0755`, 'towpath-soak', directory]);
      return new SmallFilesystem(directory, sizeMib);
    } catch (error) {
      return `a file system could not be mounted: ${(error as Error).message.trim()}`;
    }
  }

  async usedMib(): Promise<number> {
    const { blocks, bfree, bsize } = await statfs(this.directory);
    return ((blocks - bfree) * bsize) / MIB;
  }

  /** From now on it is full: as large as what is in it. (A file as ballast would take that much memory.) */
  async fill(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.resize(`${Math.ceil((await this.usedMib()) * 1024)}k`);
      } catch (error) {
        // More has been written meanwhile.
        if (attempt === FILL_ATTEMPTS) throw error;
      }
    }
  }

  async free(): Promise<void> {
    await this.resize(`${this.sizeMib}m`);
  }

  async unmount(): Promise<void> {
    // Lazily: whoever still has a file open there must not keep it.
    await run('umount', ['-l', this.directory]);
  }

  private async resize(size: string): Promise<void> {
    await run('mount', ['-o', `remount,size=${size}`, this.directory]);
  }
}
