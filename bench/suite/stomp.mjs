// Messages per second over STOMP beside RabbitMQ: bench/stomp.mjs in a process of its own, whose result is read from a file.
import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from '../support.mjs';

/** With so many messages without a receipt the aim is RabbitMQ's rate. */
const AIMS = { 50: 1 };

export const stomp = {
  name: 'stomp',
  title: 'Messages per second over STOMP, with receipts and individual acknowledgements, 8 producers and 8 consumers',
  run: measure,
};

async function measure({ quick, rounds, progress }) {
  progress('stomp');
  const folder = await makeFolder();
  const file = path.join(folder, 'result.json');
  try {
    const flags = [
      '--json',
      file,
      ...(quick ? ['--quick'] : []),
      ...(rounds === undefined ? [] : ['--rounds', String(rounds)]),
    ];
    const script = path.join(import.meta.dirname, '..', 'stomp.mjs');
    const child = spawn(process.execPath, [script, ...flags], { stdio: ['ignore', 'ignore', 'inherit'] });
    const [code] = await new Promise((resolve) => child.once('exit', (...all) => resolve(all)));
    if (code !== 0) throw new Error(`bench/stomp.mjs ended with ${code}`);
    return tell(JSON.parse(await readFile(file, 'utf8')));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** `[{ window, name, rate, low, high }]`, Towpath first. */
function tell(found) {
  const ratios = [];
  const rows = found.map(({ window, name, rate, low, high }) => {
    const towpath = found.find((each) => each.window === window && each.name === 'towpath');
    const ratio = towpath.rate / rate;
    if (name !== 'towpath') {
      ratios.push({
        what: `STOMP, ${window} without a receipt, against RabbitMQ (${name} queue)`,
        ratio,
        aim: AIMS[window],
      });
    }
    return [name, String(window), rate.toFixed(0), `${low.toFixed(0)} to ${high.toFixed(0)}`, ratio.toFixed(2)];
  });
  const columns = ['', 'without a receipt', 'messages/s', 'from, to', 'Towpath / it'];
  return { tables: [{ title: 'Towpath, and RabbitMQ where it runs', columns, rows }], ratios, plots: [] };
}
