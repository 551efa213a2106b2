// Which test files begin first. A fresh clone does not know yet how long they take, and their size says little: the
// longest of them are short texts that wait for a load to end. One of them at the end would leave the other workers idle.
import Sequencer from '@jest/test-sequencer';

/** The longest first. A file that is not here is begun when jest thinks it best. */
const LONGEST = [
  'history/planted-stomp-bugs',
  'history/planted-redrive-bugs',
  'history/planted-bugs',
  'rest/hostile/bodies-of-queues',
  'rest/hostile/bodies-of-others',
  'history/stomp-load',
  'outage/outage',
  'history/keys-load',
  'history/planted-group-bugs',
  'history/load',
  'rest/hostile/parameters',
  'pods/killed-stomp',
  'stomp/operators',
  'pods/killed-pods',
  'history/groups-load',
  'pods/redrive',
  'rest/hostile/random',
  'rest/hostile/fields',
  'outage/durability',
  'rest/tenancy-limits',
  'tls/production',
  'rest/large-messages',
  'pods/parked-polls',
  'pods/sql-transactions',
  'sql/plans',
];

function rankOf({ path }) {
  const rank = LONGEST.findIndex((name) => path.endsWith(`/test/${name}.test.ts`));
  return rank < 0 ? LONGEST.length : rank;
}

export default class LongestFirst extends Sequencer {
  sort(tests) {
    // oxlint-disable-next-line unicorn/no-array-sort -- no array's, but jest's
    return super.sort(tests).toSorted((a, b) => rankOf(a) - rankOf(b));
  }
}
