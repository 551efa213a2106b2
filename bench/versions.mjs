// This build beside others, such as that of the commit before: whole lives of messages over REST, in slices in turn on one database; what a change
// gains or costs. The others are folders with their dist, in which `npm ci` and the build have run.
//
//   npm run bench:versions -- ../towpath-before            64 clients, one message at a time; a minute for each two
//   … ../towpath-before --batch 20 --clients 64 --rounds 11 --bare        with the bare server as well
import path from 'node:path';
import { readOptions } from './options.mjs';
import { openBareServer, openTowpath } from './peers/http.mjs';
import { runSlice } from './peers/slice.mjs';
import { serverProcessorMs } from './processor-time.mjs';
import { withServer } from './suite/server.mjs';
import { machine, median, say } from './support.mjs';

const BYTES = 200;
const WARM_MS = 3000;
const SLICE_MS = 800;

const {
  folders,
  batch = 1,
  clients: clientCount = 64,
  rounds = 11,
  bare,
} = readOptions(
  import.meta.filename,
  { batch: 'number', clients: 'number', rounds: 'number', bare: 'flag' },
  { allowFolders: true },
);
if (folders.length === 0) {
  say(
    'which builds are to be compared with this one? Folders that have a dist: npm run bench:versions -- ../towpath-before',
  );
  process.exit(2);
}

await withServer(async (server) => {
  const open = (folder) => server.open(openTowpath({ ...server, script: path.resolve(folder, 'dist/main.js') }));
  const sides = [];
  const add = async (name, peer) => {
    const clients = await peer.clients(clientCount, `lives-of-${sides.length}`, BYTES);
    sides.push({ name, peer, clients, perSecond: [], lives: 0, own: 0, database: 0 });
  };
  // The newest migrations first: those of the others are among them.
  await add('this build', await open(path.join(import.meta.dirname, '..')));
  for (const folder of folders) await add(folder, await open(folder));
  if (bare) await add('bare server', await server.open(openBareServer(server)));
  for (const { clients } of sides) await runSlice(clients, batch, WARM_MS);
  for (let round = 0; round < rounds; round += 1) {
    for (const side of sides) {
      const own = side.peer.cpuMs();
      const database = serverProcessorMs(server.processId);
      const { lives, perSecond } = await runSlice(side.clients, batch, SLICE_MS);
      side.own += side.peer.cpuMs() - own;
      side.database += serverProcessorMs(server.processId) - database;
      side.lives += lives;
      side.perSecond.push(perSecond);
    }
  }
  const [first] = sides;
  say(`lives of messages, batches of ${batch}, ${clientCount} clients, ${rounds} slices (${machine()})`);
  for (const { name, clients, perSecond, lives, own, database } of sides) {
    const ratios = first.perSecond.map((rate, index) => rate / perSecond[index]);
    const per = (ms) => ((ms / lives) * 1000).toFixed(0);
    say(
      `${name}: ${median(perSecond).toFixed(0)}/s, µs of processors per life: own ${per(own)} + database ${per(database)}` +
        (perSecond === first.perSecond
          ? ''
          : `; this build / it ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`),
    );
    for (const client of clients) client.close();
  }
});
