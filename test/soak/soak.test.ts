import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PROPERTIES } from '../history/check/properties.js';
import { until } from '../support/until.js';
import type { Report } from './report.js';

const TIMEOUT_MS = 420_000;
const ROOT = path.resolve(import.meta.dirname, '../..');

interface Run {
  readonly code: number | null;
  readonly output: string;
}

describe('npm run soak', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'soak-'));
    // PostgreSQL does not run as root, and would live elsewhere.
    await chmod(folder, 0o711);
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** As npm runs it. Its temporary files are in a folder of the test. */
  function start(...options: string[]): { readonly child: ChildProcess; readonly output: () => string } {
    const program = [
      '--import',
      './test/support/typescript.mjs',
      'test/soak/main.ts',
      '--out',
      path.join(folder, 'out'),
    ];
    const child = spawn(process.execPath, [...program, ...options], {
      cwd: ROOT,
      env: { ...process.env, TMPDIR: folder },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    return { child, output: () => output };
  }

  async function run(...options: string[]): Promise<Run> {
    const { child, output } = start(...options);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output: output() };
  }

  const reported = async (): Promise<Report> =>
    JSON.parse(await readFile(path.join(folder, 'out', 'report.json'), 'utf8')) as Report;

  /** Neither files nor file systems nor processes. */
  async function expectNothingLeft(): Promise<void> {
    expect((await readdir(folder)).filter((name) => name.startsWith('towpath-'))).toEqual([]);
    expect(await readFile('/proc/mounts', 'utf8').catch(() => '')).not.toContain(folder);
    const processes = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
    const environments = await Promise.all(
      processes.map((name) => readFile(`/proc/${name}/environ`, 'utf8').catch(() => '')),
    );
    // But the one that looks after the run: it sees the end of the run a moment later.
    expect(environments.filter((text) => text.includes(`TMPDIR=${folder}/`))).toEqual([]);
  }

  it(
    'is green with faults, says what came of each, and leaves nothing',
    async () => {
      const asked = ['pod-terminate', 'postgres-kill', 'clients-cut'];
      const { code, output } = await run('--minutes', '0.3', '--faults', asked.join(','), '--seed', '3');
      expect(output).toMatch(/green: 0 violations/);
      expect(code).toBe(0);
      const report = await reported();
      expect(report).toMatchObject({ isGreen: true, violations: [], complaints: [], options: { seed: 3 } });
      expect(report.faults.length).toBeGreaterThan(0);
      const came = new Set([...report.faults, ...report.notRun].map(({ name }) => name));
      expect([...came].toSorted()).toEqual(asked.toSorted());
      expect(report.kinds.find(({ kind }) => kind === 'delete')?.done).toBeGreaterThan(10);
      expect(await readFile(path.join(folder, 'out', 'report.md'), 'utf8')).toContain('# A soak of Towpath: green');
      await expectNothingLeft();
    },
    TIMEOUT_MS,
  );

  it(
    'is red with a planted bug',
    async () => {
      const { code, output } = await run('--plant', 'stale-delete', '--leg-seconds', '6');
      expect(output).toContain(`RED:`);
      expect(code).toBe(1);
      const { violations, plant } = await reported();
      expect(plant).toContain('a delete that takes any receipt');
      expect(violations.map(({ property }) => property)).toContain(PROPERTIES.stale);
      await expectNothingLeft();
    },
    TIMEOUT_MS,
  );

  it(
    'ends early on SIGINT, with a check and a report',
    async () => {
      const { child, output } = start('--minutes', '30', '--faults', 'clients-cut');
      await until(() => output().includes('s to go'), 'the load goes on');
      child.kill('SIGINT');
      const [code] = (await once(child, 'close')) as [number | null];
      expect(output()).toMatch(/SIGINT: the load ends/);
      expect(code).toBe(0);
      expect(await reported()).toMatchObject({ isGreen: true, wasEndedEarly: true });
      await expectNothingLeft();
    },
    TIMEOUT_MS,
  );

  it('does not begin with options that it does not know', async () => {
    const { code, output } = await run('--faults', 'fire');
    expect(output).toMatch(/there is no fault fire\. There are: pod-kill/);
    expect(code).toBe(2);
    expect(await readdir(folder)).toEqual([]);
  });
});
