// What a benchmark is told on its command line. `--help` tells the comment at the head of its file; what it does not know, or cannot read, ends it
// with a line that says so, and 2.
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { say } from './support.mjs';

/**
 * The options by name, given the file (`import.meta.filename`) and the kind of each: `flag`, `text`, `file` (that exists), `number` (above 0), `numbers` (1,16,64) or an array of the
 * names of which some may be given (lives,delivery). What is not given is undefined, a flag false, and of names all. `folders`: what stands without a name.
 */
export function readOptions(file, kinds, { allowFolders = false } = {}) {
  let options;
  try {
    options = parse(kinds, allowFolders);
  } catch (error) {
    say(`${String(error?.message)}; --help tells what there is`);
    process.exit(2);
  }
  if (options.help) {
    say(headOf(file));
    process.exit(0);
  }
  return options;
}

function parse(kinds, allowPositionals) {
  const typed = Object.entries(kinds).map(([name, kind]) => [name, { type: kind === 'flag' ? 'boolean' : 'string' }]);
  const { values, positionals } = parseArgs({
    allowPositionals,
    options: { ...Object.fromEntries(typed), help: { type: 'boolean' } },
  });
  const read = Object.entries(kinds).map(([name, kind]) => [name, readOne(name, kind, values[name])]);
  return { ...Object.fromEntries(read), help: values.help === true, folders: positionals };
}

function readOne(name, kind, value) {
  if (kind === 'flag') return value === true;
  if (Array.isArray(kind)) return namesOf(name, value?.split(',') ?? kind, kind);
  if (value === undefined || kind === 'text') return value;
  if (kind === 'file') {
    if (!existsSync(value)) throw new Error(`--${name}: there is no file '${value}'`);
    return value;
  }
  if (kind === 'number') return numberOf(name, value);
  return value.split(',').map((each) => numberOf(name, each));
}

function numberOf(name, value) {
  const number = Number(value);
  if (value.trim() === '' || !Number.isFinite(number) || number <= 0)
    throw new Error(`--${name} takes numbers above 0, not '${value}'`);
  return number;
}

function namesOf(name, given, all) {
  const unknown = given.find((each) => !all.includes(each));
  if (unknown !== undefined) throw new Error(`--${name}: there is no '${unknown}', but ${all.join(', ')}`);
  return given;
}

function headOf(file) {
  const lines = readFileSync(file, 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines
    .slice(0, end)
    .map((line) => line.slice(3))
    .join('\n');
}
