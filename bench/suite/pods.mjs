// Whole lives of messages on one queue by one to four pods on one database: what further pods add where there are processors for them.
import { openTowpath } from '../peers/http.mjs';
import { runSlice } from '../peers/slice.mjs';
import { median } from '../support.mjs';
import { withServer } from './server.mjs';

const CLIENTS = 64;
const BYTES = 200;

export const pods = {
  name: 'pods',
  title: `Lives of messages by several pods, ${CLIENTS} clients in all`,
  run: (options) => withServer((server) => measure(server, options)),
};

async function measure(server, { quick, rounds = quick ? 2 : 5, progress }) {
  const most = quick ? 2 : 4;
  const all = [];
  for (let n = 0; n < most; n += 1) all.push(await server.open(openTowpath(server)));
  const rows = [];
  const ratios = [];
  for (const batch of [1, 20]) {
    const first = [];
    for (let count = 1; count <= most; count += 1) {
      progress(`pods: ${count}, batches of ${batch}`);
      const clients = [];
      for (const pod of all.slice(0, count)) {
        clients.push(...(await pod.clients(Math.round(CLIENTS / count), `by-${count}-in-${batch}`, BYTES)));
      }
      await runSlice(clients, batch, quick ? 1500 : 5000);
      const rates = [];
      for (let round = 0; round < rounds; round += 1) rates.push((await runSlice(clients, batch, 1000)).perSecond);
      for (const client of clients) client.close();
      const rate = median(rates);
      if (count === 1) first.push(rate);
      else ratios.push({ what: `${count} pods against one, batches of ${batch}`, ratio: rate / first[0] });
      rows.push([String(batch), String(count), rate.toFixed(0), (rate / first[0]).toFixed(2)]);
    }
  }
  return {
    tables: [{ title: 'lives per second', columns: ['batches of', 'pods', 'lives/s', 'against one'], rows }],
    ratios,
    plots: [],
  };
}
