import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ROOT } from './documents.js';

/** .ci/audit.mjs, with an npm that answers what the test says. */
describe('the audit of dependencies', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'audit-'));
    mkdirSync(path.join(folder, '.ci'));
    cpSync(path.join(ROOT, '.ci/audit.mjs'), path.join(folder, '.ci/audit.mjs'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const audit = (answer: unknown, exceptions: unknown[] = []): Promise<{ code: number; output: string }> => {
    writeFileSync(path.join(folder, '.ci/audit-exceptions.json'), JSON.stringify(exceptions));
    writeFileSync(path.join(folder, 'answer'), typeof answer === 'string' ? answer : JSON.stringify(answer));
    writeFileSync(path.join(folder, 'npm'), `#!/bin/sh\ncat '${path.join(folder, 'answer')}'\nexit 1\n`);
    chmodSync(path.join(folder, 'npm'), 0o755);
    const env = { PATH: `${folder}:${process.env['PATH'] ?? ''}` };
    return new Promise((resolve) => {
      execFile(process.execPath, [path.join(folder, '.ci/audit.mjs')], { env }, (error, out, err) =>
        resolve({ code: Number(error?.code ?? 0), output: out + err }),
      );
    });
  };
  const url = 'https://github.com/advisories/GHSA-aaaa-bbbb-cccc';
  const hole = { name: 'left', via: [{ source: 1, title: 'a hole', severity: 'low', url }] };
  const report = { vulnerabilities: { left: hole, right: { name: 'right', via: ['left'] } } };
  const exception = { advisory: 'GHSA-aaaa-bbbb-cccc', package: 'left', reason: 'not reached', until: '2999-01-01' };

  it('fails on what nobody has explained', async () => {
    expect(await audit(report)).toEqual({ code: 1, output: `left: a hole (low, ${url})\n` });
    expect(await audit(report, [exception])).toMatchObject({ code: 0 });
    expect(await audit({ vulnerabilities: {} })).toMatchObject({ code: 0 });
  });

  it('fails on explanations that are over, of no use, or none', async () => {
    expect(await audit(report, [{ ...exception, until: '2020-01-01' }])).toMatchObject({ code: 1 });
    expect(await audit({ vulnerabilities: {} }, [exception])).toMatchObject({ code: 1 });
    expect(await audit(report, [{ ...exception, reason: '' }])).toMatchObject({ code: 1 });
  });

  it('says so where the registry has no answer', async () => {
    for (const answer of ['', { error: { summary: 'audit endpoint returned an error' } }, { message: '405' }]) {
      expect(await audit(answer)).toMatchObject({ code: 0, output: expect.stringMatching(/^NOT CHECKED/) });
    }
  });
});
