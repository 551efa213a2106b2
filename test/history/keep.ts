import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Violation } from './check/properties.js';
import type { History } from './history.js';

/** Not in the folder for temporary files: that of the tests goes with them. */
const FOLDER = path.join(import.meta.dirname, '..', '..', 'histories');

/**
 * Writes down what was found and all of the histories it was found in, and says where: a run that broke a promise does not
 * come again. Nothing is written where nothing was found.
 */
export function keep(
  found: readonly Violation[],
  histories: Readonly<Record<string, History>>,
  more: object = {},
): void {
  if (found.length === 0) return;
  mkdirSync(FOLDER, { recursive: true });
  const file = path.join(FOLDER, `${new Date().toISOString().replaceAll(':', '-')}.json`);
  writeFileSync(file, JSON.stringify({ found, ...more, histories }));
  process.stdout.write(`the history that broke a promise is in ${file}\n`);
}
