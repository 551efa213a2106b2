import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { documents, readText, ROOT } from './documents.js';

const withoutCode = (text: string): string => text.replace(/^```[\s\S]*?^```$/gm, '');

/** The anchors that a page has, as the usual renderers make them of its headings. */
function anchorsOf(text: string): string[] {
  return [...withoutCode(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

const links = documents.flatMap(({ file, text }) =>
  [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => ({ file, target }))
    .filter(({ target }) => !/^[a-z]+:/.test(target)),
);

describe('the links in the documentation', () => {
  it.each(links)('$file: $target leads somewhere', ({ file, target }) => {
    const [page = '', anchor] = target.split('#', 2);
    const found = page === '' ? file : path.join(path.dirname(file), page);
    expect(existsSync(path.join(ROOT, found))).toBe(true);
    const anchors = anchor === undefined ? [] : anchorsOf(readText(found));
    expect(anchor === undefined || anchors.includes(anchor)).toBe(true);
  });
});

describe('the names in the documentation', () => {
  it('of files and folders exist', () => {
    const wrong = documents.flatMap(({ file, text }) =>
      [...text.matchAll(/`((?:src|test|docs|deploy|migrations|bench|console)\/[\w./-]*)`/g)]
        .map(([, name = '']) => name)
        .filter((name) => !existsSync(path.join(ROOT, name)))
        .map((name) => `${file}: ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  it('of tables, views and functions exist', () => {
    const schema = readdirSync(path.join(ROOT, 'migrations'))
      .map((name) => readText(`migrations/${name}`))
      .concat(readText('src/database/migrator.ts'))
      .join('\n');
    const made = new Set(
      [...schema.matchAll(/create (?:table|view|function|sequence) (?:if not exists )?towpath\.(\w+)/g)].map(
        ([, name]) => name,
      ),
    );
    const wrong = documents.flatMap(({ file, text }) =>
      [...text.matchAll(/\btowpath\.([a-z_]+)\b/g)]
        .map(([, name = '']) => name)
        .filter((name) => !made.has(name))
        .map((name) => `${file}: towpath.${name}`),
    );
    expect(wrong).toEqual([]);
  });

  it('of the folders of src are all in the map', () => {
    const map = readText('docs/architecture.md');
    const folders = readdirSync(path.join(ROOT, 'src')).filter((name) =>
      statSync(path.join(ROOT, 'src', name)).isDirectory(),
    );
    expect(folders.filter((name) => !map.includes(`\`src/${name}/\``))).toEqual([]);
  });
});
