import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

const SRC = path.resolve(import.meta.dirname, '../../src');

interface Source {
  /** From src/, with slashes. */
  readonly file: string;
  readonly text: string;
  /** From src/, or the name of a package. */
  readonly imports: readonly string[];
  /** Those that are there at run time. */
  readonly valueImports: readonly string[];
}

const sources: readonly Source[] = globSync('**/*.ts', { cwd: SRC }).map((name) => {
  const file = name.split(path.sep).join('/');
  const text = readFileSync(path.join(SRC, name), 'utf8');
  const found = [
    ...text.matchAll(
      /^(?:import|export)\s+(type\b)?[^;'"]*?(?:from\s+)?['"]([^'"]+)['"]|\bimport\(['"]([^'"]+)['"]\)/gm,
    ),
  ].map(([, type, from, dynamic]) => ({ isType: type !== undefined, imported: resolved(file, from ?? dynamic ?? '') }));
  return {
    file,
    text,
    imports: found.map(({ imported }) => imported),
    valueImports: found.filter(({ isType }) => !isType).map(({ imported }) => imported),
  };
});

function resolved(file: string, from: string): string {
  if (!from.startsWith('.')) return from;
  return path.posix.join(path.posix.dirname(file), from).replace(/\.js$/, '.ts');
}

const folderOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '');
const kindOf = (file: string): string => /\.(\w+)\.ts$/.exec(file)?.[1] ?? '';
/** A source without its comments: what they mention is no code. */
const codeOf = ({ text }: Source): string => text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, '');

/** Every import that `isBreach` finds, as `file -> import`. */
const breaches = (isBreach: (source: Source, imported: string) => boolean): string[] =>
  sources.flatMap((source) =>
    source.imports.filter((imported) => isBreach(source, imported)).map((imported) => `${source.file} -> ${imported}`),
  );

/** What may look like a breach, with the reason why it is none. */
const MAY_HOLD_SQL: Readonly<Record<string, string>> = {
  'embedded-postgres/prepare-database.ts': 'it makes the role and the database, before there is anything of ours in it',
  'embedded-postgres/cluster.ts': 'it sets the password in single-user mode, where no client can connect',
  'operations/banner.ts': 'it shows people a query to try',
};
const MAY_IMPORT_PG: Readonly<Record<string, string>> = {
  'embedded-postgres/prepare-database.ts': 'as above',
};
/** Cycles between folders that are allowed, sorted and joined with spaces. None is. */
const CYCLES: Readonly<Record<string, string>> = {};

describe('the imports of src', () => {
  it('were read', () => {
    expect(sources.length).toBeGreaterThan(60);
    const main = sources.find(({ file }) => file === 'main.ts');
    expect(main?.imports).toEqual(expect.arrayContaining(['reflect-metadata', 'app.ts', 'config/environment.ts']));
  });

  it('lead to files that exist', () => {
    const files = new Set(sources.map(({ file }) => file));
    expect(breaches((_, imported) => imported.endsWith('.ts') && !files.has(imported))).toEqual([]);
  });

  it('take the database’s packages in src/database only', () => {
    const found = breaches(
      ({ file }, imported) =>
        /^(?:pg|kysely|pg-listen)(?:\/|$)/.test(imported) && folderOf(file) !== 'database' && !(file in MAY_IMPORT_PG),
    );
    expect(found).toEqual([]);
  });

  it('leave SQL to src/database', () => {
    const sql =
      /['"`]\s*(?:select\s+[\w*(]|insert\s+into\s|update\s+\w+(?:\.\w+)?\s+set\s|delete\s+from\s|(?:create|alter|drop)\s+(?:table|function|role|database|schema)\s|listen\s+\w|notify\s+\w|with\s+\w+\s+as\s)/i;
    const found = sources.filter((source) => folderOf(source.file) !== 'database' && sql.test(codeOf(source)));
    // Those with a reason must still need it.
    expect(found.map(({ file }) => file).toSorted()).toEqual(Object.keys(MAY_HOLD_SQL).toSorted());
  });

  it('never lead from services, or what is below them, to controllers', () => {
    expect(
      breaches(
        ({ file }, imported) =>
          kindOf(file) !== 'controller' && file !== 'app.module.ts' && kindOf(imported) === 'controller',
      ),
    ).toEqual([]);
  });

  it('lead to app.ts from main.ts only, to app.module.ts from app.ts only, and to main.ts from nowhere', () => {
    const roots = ['main.ts', 'app.ts', 'app.module.ts'];
    expect(breaches((_, imported) => roots.includes(imported))).toEqual([
      'app.ts -> app.module.ts',
      'main.ts -> app.ts',
    ]);
  });

  it('never lead from src/stomp to src/database', () => {
    expect(breaches(({ file }, imported) => folderOf(file) === 'stomp' && folderOf(imported) === 'database')).toEqual(
      [],
    );
  });

  it('take Fastify and Nest’s HTTP only where HTTP is spoken', () => {
    const speakers = /^(?:rest|errors|identity|operations)\/|\.controller\.ts$|^app\.ts$/;
    expect(
      breaches(
        ({ file }, imported) =>
          /^(?:fastify|@nestjs\/(?:platform-fastify|swagger))$/.test(imported) && !speakers.test(file),
      ),
    ).toEqual([]);
  });

  it('have no barrels', () => {
    expect(
      sources.filter(({ file, text }) => /(?:^|\/)index\.ts$/.test(file) || /^export \* from/m.test(text)),
    ).toEqual([]);
  });

  it('make no cycles between files', () => {
    expect(components(new Map(sources.map(({ file, valueImports }) => [file, valueImports])))).toEqual([]);
  });

  it('make no cycles between folders', () => {
    const folders = new Map<string, string[]>();
    for (const { file, imports } of sources) {
      const from = folderOf(file);
      const to = imports.filter((imported) => imported.endsWith('.ts')).map(folderOf);
      folders.set(from, [...(folders.get(from) ?? []), ...to.filter((folder) => folder !== from)]);
    }
    expect(components(folders)).toEqual(Object.keys(CYCLES));
  });
});

it('reads process.env in src/config only', () => {
  const found = sources.filter((source) => /\bprocess\.env\b|\bfrom 'node:process'/.test(codeOf(source)));
  expect(found.map(({ file }) => file)).toEqual(['config/environment.ts']);
});

/** The groups of nodes that reach each other, by Tarjan's algorithm; each sorted and joined. */
function components(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const indexes = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const found: string[] = [];
  const visit = (node: string): void => {
    indexes.set(node, indexes.size);
    lowest.set(node, indexes.get(node)!);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!graph.has(next)) continue;
      if (!indexes.has(next)) visit(next);
      if (stack.includes(next)) lowest.set(node, Math.min(lowest.get(node)!, lowest.get(next)!));
    }
    if (lowest.get(node) !== indexes.get(node)) return;
    const group = stack.splice(stack.indexOf(node));
    if (group.length > 1) found.push(group.toSorted().join(' '));
  };
  for (const node of graph.keys()) if (!indexes.has(node)) visit(node);
  return found.toSorted();
}

it('finds cycles', () => {
  const graph = { a: ['b'], b: ['c'], c: ['a', 'd'], d: ['e'], e: ['d'], f: ['a'] };
  expect(components(new Map(Object.entries(graph)))).toEqual(['a b c', 'd e']);
});
