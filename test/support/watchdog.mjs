// Outlives the test run, however that ends: when its process is gone, whatever the tests started is stopped and the
// folder of the run removed. Arguments: the process id of the run, its folder.
import { spawnSync } from 'node:child_process';
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';

const testProcess = Number(process.argv[2]);
const folder = process.argv[3];

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

/** The database servers whose data is in the folder: each data directory holds a postmaster.pid while it is in use. */
async function servers() {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const files = names.filter((name) => path.basename(name) === 'postmaster.pid');
  const texts = await Promise.all(files.map((name) => readFile(path.join(folder, name), 'utf8').catch(() => '')));
  return texts.map((text) => Number.parseInt(text, 10)).filter((pid) => pid > 1 && isAlive(pid));
}

/** Processes that the tests started (pods, child apps): they have the run's folder as TMPDIR. Linux only. */
async function children() {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      return environment.split('\0').includes(`TMPDIR=${folder}`) ? Number(pid) : 0;
    }),
  );
  return found.filter((pid) => pid > 1 && pid !== process.pid);
}

/** File systems that the tests have mounted in the folder. Linux only. */
async function mounts() {
  const lines = (await readFile('/proc/mounts', 'utf8').catch(() => '')).split('\n');
  return lines.map((line) => line.split(' ')[1] ?? '').filter((directory) => directory.startsWith(`${folder}/`));
}

// Ctrl-C reaches the whole process group of a terminal; this process has work to do then.
process.on('SIGINT', () => undefined);
while (isAlive(testProcess)) await setTimeout(250);
for (let attempt = 0; attempt < 40; attempt += 1) {
  for (const pid of await children()) kill(pid, 'SIGKILL');
  const running = await servers();
  if (running.length === 0) break;
  for (const pid of running) kill(pid, 'SIGQUIT');
  await setTimeout(250);
}
for (const directory of await mounts()) spawnSync('umount', ['-l', directory]);
await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 250 });
