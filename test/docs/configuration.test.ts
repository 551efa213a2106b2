import { readConfiguration } from '../../src/config/environment.js';
import { marked, readText } from './documents.js';

interface Row {
  readonly name: string;
  readonly default: string;
  readonly unit: string;
  readonly values: string;
}

const rows: readonly Row[] = marked('configuration')
  .trim()
  .split('\n')
  .slice(2)
  .map((line) => {
    const [name = '', byDefault = '', unit = '', values = ''] = line
      .split('|')
      .slice(1)
      .map((cell) => cell.trim().replaceAll('`', ''));
    return { name, default: byDefault, unit, values };
  });

/** A list is told by what is in it. */
const told = (environment: NodeJS.ProcessEnv): unknown[] => Object.values(readConfiguration(environment)).flat();
/** Variables without a default that are no numbers. */
const isText = (name: string): boolean =>
  /_(?:URL|FILE|ORIGINS|ISSUER|AUDIENCE|CLAIM)$/.test(name) || name.startsWith('TOWPATH_MASTER_KEY');

describe("the README's configuration table", () => {
  it('lists the variables that there are, in their order', () => {
    const source = readText('src/config/environment.ts');
    const known = [...source.matchAll(/^ {2}([A-Z][A-Z_]+):/gm)].map(([, name]) => name);
    expect(known.length).toBeGreaterThan(10);
    expect(rows.map(({ name }) => name)).toEqual(known);
  });

  it.each(rows.filter((row) => row.default !== ''))('tells the default of $name', (row) => {
    expect(readConfiguration({ [row.name]: row.default })).toEqual(readConfiguration({}));
  });

  it.each(rows.filter((row) => row.default === ''))('tells that $name has no default', ({ name }) => {
    const value =
      name === 'DATABASE_URL'
        ? 'postgres://somebody@somewhere/something'
        : name.endsWith('_URL') || name.endsWith('_ORIGINS') || name.endsWith('_ISSUER')
          ? 'https://queues.example.com'
          : name.endsWith('_FILE') || name.endsWith('_DIRECTORY')
            ? '/run/secrets/file'
            : isText(name)
              ? 'something'
              : 123_456;
    expect(told({})).not.toContain(value);
    expect(told({})).toContain(null);
    expect(told({ [name]: String(value) })).toContain(value);
  });

  const ranges = rows.flatMap((row) => {
    const range = /^([\d.]+) to ([\d.]+)$/.exec(row.values);
    return range === null ? [] : [{ ...row, minimum: Number(range[1]), maximum: Number(range[2]) }];
  });

  it.each(ranges)('tells the range of $name', ({ name, minimum, maximum }) => {
    for (const good of [minimum, maximum]) expect(() => readConfiguration({ [name]: String(good) })).not.toThrow();
    for (const bad of [minimum - 1, maximum + 1]) {
      expect(() => readConfiguration({ [name]: String(bad) })).toThrow(name);
    }
  });

  it('tells a range for every number, and the unit where the name has one', () => {
    // What is no text without a default is a number: a limit that there may be.
    const numbers = rows.filter(
      (row) => (/^\d+$/.test(row.default) && row.values !== '0 or 1') || (row.default === '' && !isText(row.name)),
    );
    expect(ranges.map(({ name }) => name)).toEqual(numbers.map(({ name }) => name));
    const units: readonly (readonly [string, string])[] = [
      ['_SECONDS', 'seconds'],
      ['_DAYS', 'days'],
      ['_BYTES', 'bytes'],
      ['_BYTES_PER_SECOND', 'bytes/s'],
      ['_PER_SECOND', '1/s'],
    ];
    for (const row of rows) {
      expect([row.name, row.unit]).toEqual([row.name, units.find(([end]) => row.name.endsWith(end))?.[1] ?? '']);
    }
  });

  it('has the variables of the tests beside it', () => {
    const used = ['test/support/global-setup.mjs', 'test/support/pod.ts'].flatMap((file) =>
      [...readText(file).matchAll(/process\.env(?:\.|\[')(TEST_\w+)/g)].map(([, name]) => name),
    );
    expect(used).toContain('TEST_DATABASE_URL');
    for (const name of used) expect(readText('README.md')).toContain(`| \`${name}\``);
  });
});
