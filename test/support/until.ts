import { setTimeout as sleep } from 'node:timers/promises';

/** Tries again until it holds. The limit is for what hangs, not for what is slow. */
export async function until(condition: () => unknown, what: string, milliseconds = 120_000): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(5);
  }
}
