import type { CommitCall } from '../history.js';
import { interval, type Evidence, type Fate } from './evidence.js';

/**
 * What was consumed is gone exactly if what came of it is there. Commits that were answered are told apart by the histories
 * of their queues: there all of it was done, or all refused. Of the others each part must have had the same fate.
 * `queues` has the evidence of each queue by its name. Messages that a get may delete unseen have no place in a transaction.
 */
export function checkCommits(queues: ReadonlyMap<string, Evidence>, commits: readonly CommitCall[]): void {
  for (const commit of commits) {
    if (commit.outcome === 'unknown') checkCommit(queues, commit);
  }
}

function checkCommit(queues: ReadonlyMap<string, Evidence>, commit: CommitCall): void {
  const happened: string[] = [];
  const didNot: string[] = [];
  let at: { evidence: Evidence; fate: Fate } | undefined;
  for (const { queue, key } of commit.puts) {
    const evidence = queues.get(queue);
    for (const { name } of evidence?.rules.groups ?? []) {
      const fate = evidence?.fateOf(name, key);
      if (evidence === undefined || fate?.isTaken !== true) continue;
      at ??= { evidence, fate };
      // All that is there is delivered in the end.
      if (fate.deliveries.length > 0) happened.push(`${key} was put into ${queue}`);
      else didNot.push(`${key} was not put into ${queue}`);
    }
  }
  for (const { queue, receipt } of commit.deletes) {
    const evidence = queues.get(queue);
    const delivery = evidence?.deliveryOf(receipt);
    if (evidence === undefined || delivery === undefined) continue;
    const { fate } = delivery;
    at ??= { evidence, fate };
    const cameAgain = fate.deliveries.some(({ claimedAt }) => claimedAt > delivery.claimedAt);
    const others = fate.deletes.filter((each) => each.receipt !== receipt && each.outcome !== 'refused');
    if (cameAgain) didNot.push(`${fate.key} came again from ${queue}`);
    else if (others.length === 0) happened.push(`${fate.key} is gone from ${queue}`);
  }
  if (at === undefined || happened.length === 0 || didNot.length === 0) return;
  const what = `of the commit ${interval(commit)}: ${happened.join(', ')}; but ${didNot.join(', ')}`;
  at.evidence.report('transaction', at.fate.group.name, at.fate.key, what);
}
