import { setTimeout as sleep } from 'node:timers/promises';

/** Does it again and again, so often, from now on. The answer ends that, and fails where one of them has. */
export function repeat(everyMs: number, act: () => Promise<void> | void): () => Promise<void> {
  const ending = new AbortController();
  const { signal } = ending;
  const running = (async (): Promise<void> => {
    while (!signal.aborted) {
      await act();
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  })();
  // Told by the end.
  running.catch(() => undefined);
  return async () => {
    ending.abort();
    await running;
  };
}
