import { Counts } from './check/counts.js';
import { checkAllOrNone, checkEnd, checkStats } from './check/ends.js';
import { Evidence } from './check/evidence.js';
import { readDeliveries } from './check/origins.js';
import type { Violation } from './check/properties.js';
import { checkDeletes, checkSides, checkUpdates } from './check/receipts.js';
import { checkCommits } from './check/transactions.js';
import { checkWindows } from './check/windows.js';
import type { CommitCall, History } from './history.js';

/**
 * The history checker: which promises of the queue does a recorded history break? An empty answer: none.
 *
 * A message is another one in each consumer group that takes it, and groups know nothing of each other; so all is
 * checked per message and group. The checker reports only what no order of the operations can explain. Six facts make
 * that possible without a search:
 *
 * 1. Every delivery and every confirmed update tells its moment by the database's own clock: `visibleAfter` less the
 *    visibility timeout asked for. So the deliveries of a message have one order, and whether one fell into the window
 *    of the one before it is a comparison of two times of one clock (give or take `ROUNDING_MS`).
 * 2. Deletes have no such time, but need none: after the delete of a message there are no deliveries of it, and before
 *    it, since the receipt must be that of the last delivery, no later ones.
 * 3. What is unknown to the client (an aborted poll, a lost answer) is allowed everything it may have done: a delivery
 *    that nobody saw, a visibility changed, a message deleted or stored, dead letters redriven.
 * 4. A redrive needs no time either: where the count of a message starts again, one must have come between, that was
 *    called before, had not ended, and found the message dead and in nobody's hands.
 *
 * 5. A holder that goes away ends its window: not before the client, or whoever cut it off, began to end it; and where that
 *    was confirmed, its receipt is dead from then on.
 * 6. A transaction is atomic where no part of it is seen to have happened while another is seen not to have.
 *
 * What is compared with the client's clock is given the tolerance that the rules state.
 */
export function checkHistory(history: History): Violation[] {
  return check(history).violations;
}

/** As `checkHistory`, for several queues, by their names, and what was committed in them together. */
export function checkHistories(histories: ReadonlyMap<string, History>, commits: readonly CommitCall[]): Violation[] {
  const queues = new Map([...histories].map(([name, history]) => [name, check(history)]));
  checkCommits(queues, commits);
  return [...queues.values()].flatMap(({ violations }) => violations);
}

function check(history: History): Evidence {
  const evidence = new Evidence(history);
  readDeliveries(evidence);
  evidence.addCalls();
  const counts = new Counts(evidence);
  for (const fate of evidence.fates) {
    checkWindows(evidence, fate);
    counts.check(fate);
    checkDeletes(evidence, fate);
    checkEnd(evidence, fate);
  }
  checkUpdates(evidence);
  checkSides(evidence);
  for (const put of evidence.all('put')) checkAllOrNone(evidence, put);
  for (const stats of evidence.all('stats')) checkStats(evidence, stats);
  counts.checkUnseen();
  return evidence;
}
