import { PROPERTIES } from '../check/properties.js';
import { rewrite, type PlantedBug } from './planted-bug.js';

/** Later than the timeouts of a second: by then others hold what is given back. */
const LATE: [from: RegExp, to: string] = [/^begin$/m, '$& perform pg_sleep(1.2);'];

/**
 * Of STOMP. (A release that leaves receipts alive shows where a message is given back and not yet delivered again, which is no
 * time where others wait for it: test/sql/stomp.test.ts sees to that.)
 */
export const STOMP_BUGS: readonly PlantedBug[] = [
  {
    name: 'early-receipt',
    what: 'a receipt of SEND before its commit',
    breaks: [PROPERTIES.lost],
    inPods: 'early receipt',
  },
  {
    name: 'ack-too-much',
    what: 'an ACK that acknowledges all that is held',
    breaks: [PROPERTIES.lost],
    inPods: 'ack too much',
  },
  {
    name: 'split-transaction',
    what: 'a transaction in two halves',
    // Whichever half is left over.
    breaks: [PROPERTIES.transaction, PROPERTIES.nowhere],
    inPods: 'split transaction',
  },
  {
    name: 'release-of-settled',
    what: 'a release of what is settled',
    breaks: [PROPERTIES.holder],
    inPods: 'release of what is settled',
  },
  {
    name: 'release-of-others',
    what: 'a release that takes what others hold by now',
    // Whoever has it is refused, or a third one has it too, whichever comes first.
    breaks: [PROPERTIES.holder, PROPERTIES.live],
    plant: (site) => rewrite(site, 'give_back_messages', [/and m\.receipt_number = v_entry\.receipt_number/, ''], LATE),
  },
];
