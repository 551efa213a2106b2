// Reads what `node --cpu-prof` has written: where a pod's processor time went, by file of the built program.
import { readFile } from 'node:fs/promises';

/**
 * Milliseconds by file, most first: `dist/…` files by their path, packages by their name. What Node's own functions take counts for the
 * file that calls them; where there is none, for `(node)`. Idle time is not in it, nor what was before `since`, in milliseconds of the
 * system's monotonic clock. `total` is the sum.
 */
export async function timesByFile(profileFile, since = 0) {
  const { nodes, samples, startTime, timeDeltas } = JSON.parse(await readFile(profileFile, 'utf8'));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parentOf = new Map(nodes.flatMap(({ id, children }) => (children ?? []).map((child) => [child, id])));
  const fileOfNode = new Map();
  const fileOf = (id) => {
    let file = fileOfNode.get(id);
    if (file === undefined) {
      file = fileOfFrame(byId.get(id).callFrame) ?? (parentOf.has(id) ? fileOf(parentOf.get(id)) : '(node)');
      fileOfNode.set(id, file);
    }
    return file;
  };
  const times = new Map();
  let total = 0;
  let now = startTime / 1000;
  for (const [index, id] of samples.entries()) {
    const file = fileOf(id);
    const ms = timeDeltas[index] / 1000;
    now += ms;
    if (file === '(idle)' || now < since) continue;
    total += ms;
    times.set(file, (times.get(file) ?? 0) + ms);
  }
  return { total, times: [...times].toSorted(([, a], [, b]) => b - a) };
}

/** Null: Node's own, which its caller answers for. */
function fileOfFrame({ url, functionName }) {
  const [, own] = /\/dist\/(.*)$/.exec(url) ?? [];
  if (url.includes('/node_modules/')) {
    return /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)[1];
  }
  if (own !== undefined) return `dist/${own}`;
  return /^\((?:garbage collector|program|idle)\)$/.test(functionName) ? functionName : null;
}
