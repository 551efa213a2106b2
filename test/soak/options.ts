import path from 'node:path';
import { parseArgs } from 'node:util';
import { FAULTS } from './faults/all.js';
import { PLANTS } from './plants.js';

/** What is wrong with the command line, with what may be asked for. */
export class UsageError extends Error {}

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  /** Names of those that may come. */
  readonly faults: readonly string[];
  /** They were asked for by name, so that one that cannot be had is a failure. */
  readonly areFaultsNamed: boolean;
  /** The name of a bug, `all`, or null. */
  readonly plant: string | null;
  /** Messages per second that are put, all queues together. */
  readonly rate: number;
  readonly pods: number;
  /** How often all is drained and checked. */
  readonly legSeconds: number;
  readonly diskMib: number;
  readonly out: string;
}

export type Command = 'help' | 'list' | SoakOptions;

const DEFAULT_MINUTES = 5;
/** One that has not shown by then is not found. */
const DEFAULT_PLANT_MINUTES = 4;
const DEFAULT_RATE = 40;
/** What is rare shows sooner. */
const DEFAULT_PLANT_RATE = 120;
const DEFAULT_LEG_SECONDS = 300;
const DEFAULT_PLANT_LEG_SECONDS = 20;

export const HELP = `npm run soak -- [options]

Clients of REST and STOMP work on queues of a Towpath of its own (pods, PostgreSQL) while faults are inflicted on it; whatever they did
is written down and checked. See docs/soak.md.

  --minutes N      for how long (${DEFAULT_MINUTES}; with --plant ${DEFAULT_PLANT_MINUTES} at most)
  --seed N         which faults come when, and what they hit (drawn)
  --faults a,b     these only
  --without a,b    all but these
  --plant name     plants a bug, which must turn it red; all: one after another
  --rate N         messages put per second, all queues together (${DEFAULT_RATE}; with --plant ${DEFAULT_PLANT_RATE})
  --pods N         2 or 3 (2)
  --leg-seconds N  how often all is drained and checked (${DEFAULT_LEG_SECONDS}; with --plant ${DEFAULT_PLANT_LEG_SECONDS})
  --disk-mib N     size of the small file system that PostgreSQL gets where that can be had (768)
  --out directory  where the report goes (soak-reports/<time>)
  --list           tells the faults and the bugs
  --help           tells this

It ends with 0 where all was kept, 1 where not, 2 where it could not run. Ctrl-C ends it early, with a check and a report. With --plant all
it ends with 0 where every bug was found.
`;

export function listed(): string {
  const faults = FAULTS.map(({ name, does }) => [name, does] as const);
  const plants = PLANTS.map(({ name, what, breaks, faults: needed }) => {
    const shown = needed.length === 0 ? '' : ` (in ${needed.join(', ')})`;
    return [name, `${what}${shown}: ${breaks.join('; or ')}`] as const;
  });
  return `Faults:\n${lines(faults)}\nBugs that can be planted, and what they break:\n${lines(plants)}`;
}

function lines(rows: readonly (readonly [string, string])[]): string {
  return rows.map(([name, what]) => `  ${name.padEnd(24)}${what}\n`).join('');
}

/** Throws a UsageError. `now` names the folder of the report. */
export function readOptions(arguments_: readonly string[], now = new Date()): Command {
  const given = parse(arguments_);
  if (given['help'] === true) return 'help';
  if (given['list'] === true) return 'list';
  const text = (name: string): string | undefined => given[name] as string | undefined;
  const plant = text('plant') ?? null;
  const isPlanted = plant !== null;
  if (plant !== null && plant !== 'all') known('bug', [plant], PLANTS);
  const [only, without] = [namesIn(text('faults')), namesIn(text('without'))];
  if (only !== null && without !== null) throw new UsageError('give --faults or --without, not both.');
  known('fault', [...(only ?? []), ...(without ?? [])], FAULTS);
  const byDefault = FAULTS.map(({ name }) => name).filter((name) => without?.includes(name) !== true);
  const faults = only ?? byDefault;
  const number = (name: string, otherwise: number, low: number, high: number): number =>
    numberIn(name, text(name), otherwise, low, high);
  return {
    minutes: number('minutes', isPlanted ? DEFAULT_PLANT_MINUTES : DEFAULT_MINUTES, 0.05, 10_080),
    seed: number('seed', Math.floor(Math.random() * 2 ** 31), 0, 2 ** 32 - 1),
    faults,
    areFaultsNamed: only !== null,
    plant,
    rate: number('rate', isPlanted ? DEFAULT_PLANT_RATE : DEFAULT_RATE, 1, 10_000),
    pods: number('pods', 2, 2, 3),
    legSeconds: number('leg-seconds', isPlanted ? DEFAULT_PLANT_LEG_SECONDS : DEFAULT_LEG_SECONDS, 3, 3600),
    diskMib: number('disk-mib', 768, 256, 65_536),
    out: path.resolve(text('out') ?? path.join('soak-reports', now.toISOString().replaceAll(':', '-'))),
  };
}

function parse(arguments_: readonly string[]): Record<string, unknown> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    const { values } = parseArgs({
      args: [...arguments_],
      options: {
        minutes: text,
        seed: text,
        faults: text,
        without: text,
        plant: text,
        rate: text,
        pods: text,
        'leg-seconds': text,
        'disk-mib': text,
        out: text,
        list: flag,
        help: flag,
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${HELP}`);
  }
}

function namesIn(list: string | undefined): string[] | null {
  if (list === undefined) return null;
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

function known(kind: string, names: readonly string[], all: readonly { readonly name: string }[]): void {
  for (const name of names) {
    if (all.some((each) => each.name === name)) continue;
    throw new UsageError(`there is no ${kind} ${name}. There are: ${all.map((each) => each.name).join(', ')}.`);
  }
}

function numberIn(name: string, text: string | undefined, otherwise: number, low: number, high: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  const isWhole = !['minutes', 'rate'].includes(name);
  if (text.trim() === '' || !(value >= low && value <= high) || (isWhole && !Number.isInteger(value))) {
    throw new UsageError(`--${name} takes a ${isWhole ? 'whole ' : ''}number from ${low} to ${high}, not ${text}.`);
  }
  return value;
}
