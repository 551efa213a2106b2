// What processes have taken of the processors. Linux (/proc), in ticks of 10 ms; NaN elsewhere. Other work on the machine does not change it.
import { readdirSync, readFileSync } from 'node:fs';

/** The fields of /proc/<pid>/stat after the name; null where there is no such process any more. */
function statOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
  } catch {
    return null;
  }
}

export function processorMsOf(pid) {
  if (process.platform !== 'linux') return NaN;
  const fields = statOf(pid);
  return fields === null ? 0 : (Number(fields[11]) + Number(fields[12])) * 10;
}

/** A PostgreSQL server with its backends, by the postmaster's id; those that have ended are counted with it. */
export function serverProcessorMs(postmaster) {
  if (process.platform !== 'linux') return NaN;
  const own = statOf(postmaster) ?? [];
  // Its own, and those of the children that it has waited for.
  let ticks = [11, 12, 13, 14].reduce((sum, field) => sum + Number(own[field] ?? 0), 0);
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const fields = statOf(pid);
    if (fields?.[1] === String(postmaster)) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}
