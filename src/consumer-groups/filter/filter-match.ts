import type { Expression } from './filter-syntax.js';

type Properties = Readonly<Record<string, string>>;

/** As the pattern in filter-jsonpath.ts; what it takes, both sides read as the same double. */
const DECIMAL = /^-?[0-9]{1,60}(?:[.][0-9]{1,60})?(?:[eE][+-]?[0-9]{1,2})?$/;

/**
 * Whether a filter takes a message with these properties, as the jsonpath of it does in SQL: for what SQL cannot read,
 * since it is sealed. Null, the empty filter, takes everything.
 */
export function matchesFilter(expression: Expression | null, properties: Properties | null): boolean {
  return expression === null || matches(expression, properties ?? {});
}

function matches(expression: Expression, properties: Properties): boolean {
  switch (expression.kind) {
    case 'present':
      return Object.hasOwn(properties, expression.property);
    case 'comparison':
      return compares(expression, properties);
    case 'not':
      return !matches(expression.operand, properties);
    case 'and':
      return matches(expression.left, properties) && matches(expression.right, properties);
    default:
      return matches(expression.left, properties) || matches(expression.right, properties);
  }
}

function compares(
  { property, operator, value }: Extract<Expression, { kind: 'comparison' }>,
  properties: Properties,
): boolean {
  const text = Object.hasOwn(properties, property) ? properties[property] : undefined;
  if (text === undefined) return false;
  if (typeof value === 'string') return operator === '=' ? text === value : text !== value;
  if (!DECIMAL.test(text)) return false;
  const number = Number(text);
  switch (operator) {
    case '=':
      return number === value;
    case '!=':
      return number !== value;
    case '<':
      return number < value;
    case '<=':
      return number <= value;
    case '>':
      return number > value;
    default:
      return number >= value;
  }
}
