import { readFile } from 'node:fs/promises';

/** What a process has in memory, in MiB; null where that is not told (other systems than Linux, a process that has ended). */
export async function residentMib(processId: number): Promise<number | null> {
  const status = await readFile(`/proc/${processId}/status`, 'utf8').catch(() => '');
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
  return kib === undefined ? null : Math.round(Number(kib) / 1024);
}
