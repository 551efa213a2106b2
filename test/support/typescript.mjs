// For programs of the tests that run without jest: `node --import ./test/support/typescript.mjs program.ts`. Compiles them as jest
// does, with the options that package.json gives it: Node's own stripping of types knows neither decorators nor parameter properties.
import { transformSync } from '@swc/core';
import { readFileSync, existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const { jest } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const [, options] = jest.transform[String.raw`^.+\.ts$`];

registerHooks({
  /** The sources import each other as `.js`, which is what they become. */
  resolve(specifier, context, next) {
    const isOurs = specifier.startsWith('.') && context.parentURL?.endsWith('.ts') === true;
    const url = isOurs ? new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL) : null;
    return url !== null && existsSync(url) ? { url: url.href, shortCircuit: true } : next(specifier, context);
  },
  load(url, context, next) {
    if (!url.endsWith('.ts')) return next(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(readFileSync(filename, 'utf8'), {
      ...options,
      filename,
      swcrc: false,
      sourceMaps: 'inline',
    });
    return { format: 'module', source: code, shortCircuit: true };
  },
});
