import fc from 'fast-check';
import { toJsonPath } from '../../src/consumer-groups/filter/filter-jsonpath.js';
import { matchesFilter } from '../../src/consumer-groups/filter/filter-match.js';
import {
  FilterSyntaxError,
  parseFilter,
  type Expression,
  type Operator,
} from '../../src/consumer-groups/filter/filter-syntax.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

type Properties = Record<string, string>;

/** What a filter means, told a second time and without SQL. */
function takes(expression: Expression, properties: Properties): boolean {
  switch (expression.kind) {
    case 'present':
      return Object.hasOwn(properties, expression.property);
    case 'comparison': {
      const text = Object.hasOwn(properties, expression.property) ? properties[expression.property] : undefined;
      if (text === undefined) return false;
      const { value, operator } = expression;
      if (typeof value === 'string') return operator === '=' ? text === value : text !== value;
      if (!/^-?\d{1,60}(\.\d{1,60})?([eE][+-]?\d{1,2})?$/.test(text)) return false;
      const number = Number(text);
      const holds: Record<Operator, boolean> = {
        '=': number === value,
        '!=': number !== value,
        '<': number < value,
        '<=': number <= value,
        '>': number > value,
        '>=': number >= value,
      };
      return holds[operator];
    }
    case 'not':
      return !takes(expression.operand, properties);
    case 'and':
      return takes(expression.left, properties) && takes(expression.right, properties);
    default:
      return takes(expression.left, properties) || takes(expression.right, properties);
  }
}

const anyCase = (word: string) =>
  fc
    .array(fc.boolean(), { minLength: word.length, maxLength: word.length })
    .map((upper) => Array.from(word, (letter, index) => (upper[index] ? letter.toUpperCase() : letter)).join(''));
const name = fc.constantFrom('a', 'b', 'kind', 'x-1', 'ü', 'with "quotes"', 'b.c', '$', '');
const number = fc.oneof(fc.integer({ min: -20, max: 20 }), fc.constantFrom(0.5, -1.25, 1e20, -3e-7, 100));
const word = fc.oneof(
  fc.constantFrom(
    '',
    'order',
    '5',
    '5.0',
    '-1.25',
    '1e2',
    ' 5',
    'NaN',
    'Infinity',
    '0x10',
    '1e999',
    '٣',
    '5\n',
    "it's",
    '"',
    '\\',
  ),
  number.map(String),
  fc.string({ unit: 'grapheme', maxLength: 5 }).map((text) => text.replaceAll('\0', '')),
);
const quoted = (text: string): string => JSON.stringify(text);
const property = name.chain((key) =>
  /^[\w.-]+$/.test(key) ? fc.constantFrom(`:${key}`, `:${quoted(key)}`) : fc.constant(`:${quoted(key)}`),
);
const filter = fc.letrec<{ filter: string }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    property,
    fc
      .tuple(property, fc.constantFrom('=', '!=', '<>'), word)
      .map(([key, operator, text]) => `${key} ${operator} ${quoted(text)}`),
    fc.tuple(property, fc.constantFrom('=', '!=', '<>', '<', '<=', '>', '>='), number).map((parts) => parts.join('')),
    fc.tuple(anyCase('not'), tie('filter')).map(([not, inner]) => `${not} (${inner})`),
    fc
      .tuple(tie('filter'), fc.oneof(anyCase('and'), anyCase('or')), tie('filter'))
      .map(([left, junction, right]) => `(${left}) ${junction} ${right}`),
  ),
})).filter;
const properties = fc.dictionary(name, word, { maxKeys: 4 });

describe('filters of consumer groups', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.drop());

  it('mean in SQL what they mean', async () => {
    await fc.assert(
      fc.asyncProperty(filter, fc.array(properties, { minLength: 1, maxLength: 8 }), async (text, candidates) => {
        const expression = parseFilter(text);
        if (expression === null) return;
        const rows = await test.sql<{ taken: boolean | null }>(
          'select p @@ $1::jsonpath as taken from unnest($2::jsonb[]) with ordinality u(p, n) order by n',
          [toJsonPath(expression), candidates.map((candidate) => JSON.stringify(candidate))],
        );
        expect(rows.map(({ taken }) => taken)).toEqual(candidates.map((candidate) => takes(expression, candidate)));
        // As pods evaluate it on what is sealed.
        expect(candidates.map((candidate) => matchesFilter(expression, candidate))).toEqual(
          rows.map(({ taken }) => taken),
        );
      }),
      { numRuns: 1500 },
    );
  });

  it.each([
    ['', null],
    ['  ', null],
    [':key', { kind: 'present', property: 'key' }],
    [':type = "order"', { kind: 'comparison', property: 'type', operator: '=', value: 'order' }],
    [":type<>'it\\'s'", { kind: 'comparison', property: 'type', operator: '!=', value: "it's" }],
    [':"a b">=-2.5e1', { kind: 'comparison', property: 'a b', operator: '>=', value: -25 }],
  ])('reads %j', (text, expected) => {
    expect(parseFilter(text)).toEqual(expected);
  });

  it('binds not closer than and, and closer than or', () => {
    expect(parseFilter('not :a AND :b Or :c')).toEqual(parseFilter('((not :a) and :b) or :c'));
    expect(parseFilter(':a or :b and :c')).toEqual(parseFilter(':a or (:b and :c)'));
  });

  it.each([
    [':a = ', 5],
    ['kind = "x"', 0],
    [':a = order', 5],
    [':a > "5"', 5],
    [':a and', 6],
    ['(:a', 3],
    [':a)', 2],
    [':a = "x', 5],
    [':', 0],
    [':a :b', 3],
    [':a = 5abc', 5],
    [':a = 1e999', 5],
    [':a = "\\u0000"', 5],
    [':a ; drop table', 3],
    ['(', 1],
  ])('refuses %j at the place', (text, position) => {
    expect(() => parseFilter(text)).toThrow(FilterSyntaxError);
    expect(() => parseFilter(text)).toThrow(expect.objectContaining({ position }));
  });

  it('is bounded', () => {
    expect(() => parseFilter(`${'('.repeat(900)}:a${')'.repeat(900)}`)).toThrow(/32 deep/);
    expect(() => parseFilter(`${'not '.repeat(400)}:a`)).toThrow(/32 deep/);
    expect(() => parseFilter(':a'.repeat(2000))).toThrow(/2000 characters/);
    // Long, but flat.
    expect(toJsonPath(parseFilter(Array.from({ length: 300 }, () => ':a').join(' or ')))).toContain('||');
  });
});
