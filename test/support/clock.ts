import { jest } from '@jest/globals';

/**
 * Stops the clock by which this process measures intervals (`performance.now`), its pods with it: from now on time passes only when the
 * answer is called, by so many milliseconds, until `jest.restoreAllMocks`. Timers go on. For what a loaded machine must not
 * be too slow for.
 */
export function stopTheClock(): (ms: number) => void {
  let now = performance.now();
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  return (ms) => {
    now += ms;
  };
}
