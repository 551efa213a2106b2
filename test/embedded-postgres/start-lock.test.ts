import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { thisProcess } from '../../src/embedded-postgres/process-identity.js';
import { acquireStartLock } from '../../src/embedded-postgres/start-lock.js';
import { Workspace } from './support.js';

let workspace: Workspace;
beforeEach(() => {
  workspace = new Workspace();
});
afterEach(() => workspace.dispose());

describe('the start lock', () => {
  it('is held by one at a time', async () => {
    const directory = workspace.folder();
    let holders = 0;
    let most = 0;
    const hold = async (): Promise<void> => {
      const lock = await acquireStartLock(directory, () => undefined, 10_000);
      holders += 1;
      most = Math.max(most, holders);
      await sleep(1);
      holders -= 1;
      lock.release();
    };
    await Promise.all(Array.from({ length: 20 }, hold));
    expect([most, holders]).toEqual([1, 0]);
    expect(readdirSync(directory)).toHaveLength(1);
  });

  it.each([
    ['a dead process', JSON.stringify({ pid: 2 ** 22 + 1, identity: 'x' })],
    ['a dead process whose pid is ours by now', JSON.stringify({ ...thisProcess(), identity: 'another time' })],
    ['nobody one could know', 'not a record'],
  ])('is taken over from %s', async (_, content) => {
    const directory = workspace.folder();
    writeFileSync(join(directory, '7'), content);
    const waits: number[] = [];
    const lock = await acquireStartLock(directory, (pid) => waits.push(pid), 1000);
    expect(waits).toEqual([]);
    expect(readdirSync(directory)).toEqual(['8']);
    lock.release();
  });

  it('waits for a living owner, says so once and gives up after a bound', async () => {
    const directory = workspace.folder();
    const lock = await acquireStartLock(directory, () => undefined, 1000);
    const waits: number[] = [];
    const attempt = acquireStartLock(directory, (pid) => waits.push(pid), 200);
    await expect(attempt).rejects.toThrow(new RegExp(`process ${process.pid} has been starting.*DATABASE_URL`));
    expect(waits).toEqual([process.pid]);
    lock.release();
  });
});
