// Outlives the test run, however that ends: when its process is gone, the server is stopped and its folder removed.
import { rm } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

const [testProcess, postmaster] = process.argv.slice(2, 4).map(Number);
const dataDirectory = process.argv[4];

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

// Ctrl-C reaches the whole process group of a terminal; this process has work to do then.
process.on('SIGINT', () => undefined);
while (isAlive(testProcess)) await setTimeout(250);
if (isAlive(postmaster)) {
  process.kill(postmaster, 'SIGQUIT');
  for (let waited = 0; isAlive(postmaster) && waited < 40; waited += 1) await setTimeout(250);
}
await rm(dataDirectory, { recursive: true, force: true, maxRetries: 10, retryDelay: 250 });
