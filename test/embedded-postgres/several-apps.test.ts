import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './child-app.js';
import { expectNoProcessIn, processesIn, query, Workspace } from './support.js';

let workspace: Workspace;
beforeEach(() => {
  workspace = new Workspace();
});
afterEach(() => workspace.dispose());

describe('several apps on one data directory', () => {
  it('share one server that the last living one stops', async () => {
    const dataDirectory = workspace.folder();
    // All at once on an empty folder: one initialises, the others wait for it and adopt.
    const apps = [workspace.app(dataDirectory), workspace.app(dataDirectory), workspace.app(dataDirectory)];
    const ready = await Promise.all(apps.map((app) => app.ready()));
    expect(new Set(ready.map(({ url, processId }) => `${url} ${processId}`)).size).toBe(1);
    const logs = apps.flatMap((app) => app.logs);
    expect(logs.filter((line) => line.startsWith('First start'))).toHaveLength(1);
    expect(logs.filter((line) => line.startsWith('Using the database server that already runs'))).toHaveLength(2);

    const starter = apps.findIndex((app) => app.logs.some((line) => line.startsWith('First start')));
    const [started, second, third] = [apps[starter], ...apps.filter((_, index) => index !== starter)];
    await started?.stop();
    expect(started?.logs.at(-1)).toMatch(/goes on: process \d+, \d+ still uses it/);
    expect(await query(ready[0]?.url ?? '', 'select 1')).toEqual([[1]]);
    // A killed app takes itself out of the count.
    await second?.killed();
    await third?.stop();
    await expectNoProcessIn(dataDirectory);
  });

  it('counts two servers of one process as two users', async () => {
    const dataDirectory = workspace.folder();
    const [first, second] = await Promise.all([workspace.start({ dataDirectory }), workspace.start({ dataDirectory })]);
    expect(second.processId).toBe(first.processId);
    await first.stop();
    expect(await query(second.url, 'select 1')).toEqual([[1]]);
    await second.stop();
    await expectNoProcessIn(dataDirectory);
  });

  it('adopts the server of an app that was killed, and stops it in the end', async () => {
    const dataDirectory = workspace.folder();
    const app = workspace.app(dataDirectory);
    const { processId, url } = await app.ready();
    await app.killed();
    const lines: string[] = [];
    const server = await workspace.start({ dataDirectory, log: (line) => lines.push(line) });
    expect([server.processId, server.url]).toEqual([processId, url]);
    expect(lines).toEqual([expect.stringMatching(/^Using the database server that already runs on /)]);
    await server.stop();
    await expectNoProcessIn(dataDirectory);
  });

  it.each(['killed', 'interrupted'] as const)('starts after a first start that was %s', async (end) => {
    const dataDirectory = workspace.folder();
    const app = workspace.app(dataDirectory);
    // In the middle of initdb: the draft has content, the final name does not exist.
    const draft = (): string => readdirSync(dataDirectory).find((name) => name.startsWith('postgres.new-')) ?? 'none';
    await until(() => existsSync(join(dataDirectory, draft(), 'cluster', 'base')), 'initdb is at work');
    await app[end]();
    expect(existsSync(join(dataDirectory, 'postgres'))).toBe(false);
    const server = await workspace.start({ dataDirectory });
    expect(await query(server.url, 'select 1')).toEqual([[1]]);
    await server.stop();
    // What the orphaned initdb wrote until it noticed goes at the next start at the latest.
    await until(() => processesIn(join(dataDirectory, 'postgres.new-')).length === 0, 'the orphaned initdb is gone');
    await workspace.start({ dataDirectory });
    expect(draft()).toBe('none');
  });
});
