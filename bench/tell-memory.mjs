// A pod that is started with TELLS_MEMORY collects its garbage and writes what memory it has when it gets SIGUSR2, so that a
// benchmark sees what is held and not what happens to lie about; and how late its event loop was since the last
// time, which no disk and no database is part of.
import { readFile, rename, rm } from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

/** Options of Node for such a pod. */
export const TELLS_MEMORY = ['--expose-gc', '--import', pathToFileURL(import.meta.filename).href];

const fileOf = (processId) => path.join(tmpdir(), `towpath-memory-${processId}.json`);

/** What `process.memoryUsage` says there after a collection; `delayMs` is the p99 of its event loop's lateness since the last call. */
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
  const resolution = 5;
  const delays = monitorEventLoopDelay({ resolution });
  delays.enable();
  process.on('SIGUSR2', () => {
    const delayMs = delays.percentile(99) / 1e6 - resolution;
    globalThis.gc();
    // Twice: what has finalizers goes with the second.
    globalThis.gc();
    const file = fileOf(process.pid);
    writeFileSync(`${file}.new`, JSON.stringify({ ...process.memoryUsage(), delayMs }));
    void rename(`${file}.new`, file).then(() => delays.reset());
  });
}
