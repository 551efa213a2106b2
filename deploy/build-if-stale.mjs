// Builds dist/ for `npm start` where it is missing or older than what it is made of; otherwise costs milliseconds.
// Types are not checked here (`npm run build` and `npm run typecheck` do that): a first start takes a quarter of the time.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const built = path.join(root, 'dist', 'main.js');

function newest(entry) {
  const stat = statSync(entry);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(entry).map((name) => newest(path.join(entry, name))));
}

const sources = ['src', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'nest-cli.json'];
const isFresh =
  existsSync(built) &&
  statSync(built).mtimeMs >=
    Math.max(
      ...sources
        .map((source) => path.join(root, source))
        .filter(existsSync)
        .map(newest),
    );
if (!isFresh) {
  process.stdout.write('building…\n');
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--noCheck'], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exit(status ?? 1);
}
