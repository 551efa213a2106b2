import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const ROOT = path.resolve(import.meta.dirname, '../..');

export interface Document {
  /** Relative to the root of the project. */
  readonly file: string;
  readonly text: string;
}

export function readText(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}

/** The pages that users read. */
export const documents: readonly Document[] = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(path.join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].map((file) => ({ file, text: readText(file) }));

/** What follows the comment `<!-- test: name -->` in the README, or another page: a code block without its fences, or a table. */
export function marked(name: string, file = 'README.md'): string {
  const [, after] = readText(file).split(`<!-- test: ${name} -->\n`);
  if (after === undefined) throw new Error(`${file} has nothing marked "${name}"`);
  const code = /^\n```\w+\n([\s\S]*?)\n```\n/.exec(after)?.[1];
  const table = /^\n((?:\|.*\n)+)/.exec(after)?.[1];
  const found = code ?? table;
  if (found === undefined) throw new Error(`no code block and no table follow "${name}"`);
  return found;
}
