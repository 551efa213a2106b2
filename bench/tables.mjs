// What each choice for the tables brings, by itself against what PostgreSQL does by default: free room on pages, where bodies are stored and how they
// are compressed, indexes, when vacuum comes. On the embedded server, in a fresh database per variant, in turn; docs/performance.md has what came of it.
//
//   npm run bench:tables                        everything, about half an hour
//   npm run bench:tables -- --quick             small and once each
//   npm run bench:tables -- --only fillfactor,bodies      some: fillfactor, bodies, small, indexes, usage, vacuum, load, naptime
//
// What other work on the machine would change is not told, but for processor time, which it changes little.
import { readOptions } from './options.mjs';
import { bodies } from './tables/bodies.mjs';
import { fillfactor } from './tables/fillfactor.mjs';
import { indexes } from './tables/indexes.mjs';
import { load, naptime } from './tables/load.mjs';
import { small } from './tables/small.mjs';
import { openTrials } from './tables/trial.mjs';
import { usage } from './tables/usage.mjs';
import { vacuum } from './tables/vacuum.mjs';
import { machine, say } from './support.mjs';

const SECTIONS = [fillfactor, bodies, small, indexes, usage, vacuum, load, naptime];

const options = readOptions(import.meta.filename, { quick: 'flag', only: SECTIONS.map(({ name }) => name) });
const trials = await openTrials();
try {
  const { rows } = await trials.main.query(`select current_setting('server_version') as version`);
  say(`PostgreSQL ${rows[0].version} embedded, fsync off, ${machine()}`);
  for (const { name, run } of SECTIONS) if (options.only.includes(name)) await run(trials, options);
  say(`\n${machine()}`);
} finally {
  await trials.close();
}
