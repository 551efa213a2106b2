// A pod that is started with TELLS_MEMORY collects its garbage and writes what memory it has when it gets SIGUSR2, so that a
// benchmark sees what is held and not what happens to lie about.
import { readFile, rename, rm } from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

/** Options of Node for such a pod. */
export const TELLS_MEMORY = ['--expose-gc', '--import', pathToFileURL(import.meta.filename).href];

const fileOf = (processId) => path.join(tmpdir(), `towpath-memory-${processId}.json`);

/** What `process.memoryUsage` says there after a collection. */
export async function memoryOf(processId) {
  const file = fileOf(processId);
  process.kill(processId, 'SIGUSR2');
  for (let waited = 0; waited < 30_000; waited += 50) {
    await sleep(50);
    const text = await readFile(file, 'utf8').catch(() => null);
    if (text === null) continue;
    await rm(file);
    return JSON.parse(text);
  }
  throw new Error('the pod does not tell its memory');
}

// In the pod, where `gc` is there.
if (globalThis.gc !== undefined) {
  process.on('SIGUSR2', () => {
    globalThis.gc();
    // Twice: what has finalizers goes with the second.
    globalThis.gc();
    const file = fileOf(process.pid);
    writeFileSync(`${file}.new`, JSON.stringify(process.memoryUsage()));
    void rename(`${file}.new`, file);
  });
}
