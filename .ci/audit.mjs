// Known holes in the packages that a pod runs with: fails on any that .ci/audit-exceptions.json does not explain, and on
// an explanation that is of no use any more. Where the registry cannot be asked nothing is known, and that is said.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
// A list of { "advisory": "GHSA-…", "package": "…", "reason": "…", "until": "2027-01-31" }.
const exceptions = JSON.parse(readFileSync(path.join(root, '.ci', 'audit-exceptions.json'), 'utf8'));
for (const { advisory, reason, until } of exceptions) {
  if (!advisory?.startsWith('GHSA-') || !reason || !/^\d{4}-\d\d-\d\d$/.test(until ?? '')) {
    fail(`an exception needs "advisory", "reason" and "until": ${JSON.stringify({ advisory, reason, until })}`);
  }
}

const { stdout, error } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
  cwd: root,
  encoding: 'utf8',
  shell: process.platform === 'win32',
});
if (error) fail(`npm cannot be run: ${error.message}`);
const report = parse(stdout);
if (report?.vulnerabilities === undefined) {
  // The registry is away, or a mirror that has no such service.
  console.log(
    `NOT CHECKED: the registry does not answer audits (${report?.message ?? report?.error?.summary ?? 'no answer'})`,
  );
  process.exit(0);
}

const found = new Map();
for (const { name, via } of Object.values(report.vulnerabilities)) {
  for (const cause of via) {
    // A text names another package of the list, whose own entry says what it is.
    if (typeof cause === 'string') continue;
    const advisory = /GHSA-[\w-]+/.exec(cause.url ?? '')?.[0] ?? String(cause.source);
    found.set(advisory, `${name}: ${cause.title} (${cause.severity}, ${cause.url})`);
  }
}
const today = new Date().toISOString().slice(0, 10);
const excused = new Set(exceptions.filter(({ until }) => until >= today).map(({ advisory }) => advisory));
const problems = [
  ...[...found].filter(([advisory]) => !excused.has(advisory)).map(([, text]) => text),
  ...exceptions
    .filter(({ advisory }) => !found.has(advisory))
    .map(({ advisory }) => `${advisory} is excused and not there any more: remove it`),
];
if (problems.length > 0) fail(problems.join('\n'));
console.log(`${found.size} known, all explained in .ci/audit-exceptions.json`);

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function fail(text) {
  console.error(text);
  process.exit(1);
}
