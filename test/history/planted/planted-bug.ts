import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TestDatabase } from '../../support/database.js';
import type { Property } from '../check/properties.js';

/** What a bug is planted into: a database of its own, as its owner. */
export type PlantSite = Pick<TestDatabase, 'sql'>;

/** A bug that no single request shows, and that the checker must find. */
export interface PlantedBug {
  /** By which it is asked for. */
  readonly name: string;
  readonly what: string;
  /** It is found by one of them. */
  readonly breaks: readonly [Property, ...Property[]];
  /** Breaks the SQL. */
  readonly plant?: (site: PlantSite) => Promise<unknown>;
  /** Breaks the program of the pods: its name in in-pods.mjs. */
  readonly inPods?: string;
  /** What else a slow machine makes of it must be told apart, so what is given up is given more time than usual. */
  readonly lingerMs?: number;
  /** The delivery limit of the queue under which it shows soonest. */
  readonly deliveryLimit?: number;
}

const IN_PODS = pathToFileURL(path.join(import.meta.dirname, 'in-pods.mjs'));

/** What pods need in their environment to have the bug. */
export function environmentFor({ inPods }: Pick<PlantedBug, 'inPods'>): Record<string, string> {
  return inPods === undefined ? {} : { NODE_OPTIONS: `--import=${IN_PODS.href}`, PLANTED_BUG: inPods };
}

/**
 * Rewrites the functions whose names start with `name` (a version may follow): each pair is a piece of the source, which
 * must be there, and what it becomes.
 */
export async function rewrite(
  { sql }: PlantSite,
  name: string,
  ...changes: readonly [from: RegExp, to: string][]
): Promise<void> {
  const rows = await sql<{ source: string }>(
    `select pg_get_functiondef(p.oid) as source from pg_proc p
     where p.pronamespace = 'towpath'::regnamespace and starts_with(p.proname, $1) and p.prokind = 'f'`,
    [name],
  );
  const sources = rows
    .map(({ source }) => source)
    .filter((source) => changes.every(([from]) => source.search(from) >= 0));
  const pieces = changes.map(([from]) => from.source).join(' and ');
  if (sources.length === 0) throw new Error(`${name} has no ${pieces} any more: plant the bug elsewhere`);
  for (const source of sources) await sql(changes.reduce((text, [from, to]) => text.replace(from, to), source));
}
