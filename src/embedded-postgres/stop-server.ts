import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Binaries } from './binaries.js';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import type { Home } from './home.js';
import { findPostmaster } from './postmaster.js';
import { isPostgresProcess } from './process-identity.js';
import { runCommand } from './run-command.js';

const FAST_SECONDS = 20;
const IMMEDIATE_SECONDS = 10;
const EXIT_MILLISECONDS = 5000;

/**
 * Stops the server: fast (open transactions are rolled back, all is written), and when that takes too long, immediate
 * (the next start recovers from the log; nothing that was committed is lost). Fine when none runs.
 */
export async function stopServer(home: Home, binaries: Binaries, processId: number): Promise<void> {
  if (!existsSync(home.clusterDirectory)) return endWithoutDirectory(processId);
  const running = findPostmaster(home.clusterDirectory);
  if (running === undefined) return;
  let output = '';
  for (const [mode, seconds] of [['fast', FAST_SECONDS] as const, ['immediate', IMMEDIATE_SECONDS] as const]) {
    const result = await runCommand(
      binaries.pgCtl,
      ['stop', '-w', '-m', mode, '-t', String(seconds), '-D', home.clusterDirectory],
      { user: home.user, directory: home.directory },
    );
    output = result.output;
    // It removes its pid file shortly before it ends; who stops it last wants it gone.
    if (result.status === 0 && (await hasEnded(running.processId))) return;
    if (findPostmaster(home.clusterDirectory) === undefined) return;
  }
  throw new EmbeddedPostgresError(
    `the server (process ${running.processId}) does not stop: ${output.trim()} End it with: kill -QUIT ${running.processId}.`,
  );
}

/** Somebody deleted the data while the server ran (tests do): pg_ctl cannot find it any more, we can. */
async function endWithoutDirectory(processId: number): Promise<void> {
  if (!isPostgresProcess(processId)) return;
  process.kill(processId, 'SIGQUIT');
  await hasEnded(processId);
}

async function hasEnded(processId: number): Promise<boolean> {
  const deadline = Date.now() + EXIT_MILLISECONDS;
  while (isPostgresProcess(processId)) {
    if (Date.now() > deadline) return false;
    await sleep(10);
  }
  return true;
}
