import type { Expression } from './filter-syntax.js';

/*
 * Properties are strings. A comparison with a number is true where the property is there, is a decimal number and
 * compares so; in every other case it is false, and `not` makes it true. The pattern before `.double()` sees to that:
 * without it, what does not convert would be neither true nor false, and `not` could not turn it.
 * At most two digits of exponent and sixty of the number, so that nothing overflows a double.
 */
const DECIMAL = '^-?[0-9]{1,60}([.][0-9]{1,60})?([eE][+-]?[0-9]{1,2})?$';
const OPERATORS = { '=': '==', '!=': '!=', '<': '<', '<=': '<=', '>': '>', '>=': '>=' } as const;

/** The filter as a jsonpath predicate, for `properties @@ path`; null: everything is taken. */
export function toJsonPath(expression: Expression | null): string | null {
  return expression === null ? null : path(expression);
}

function path(expression: Expression): string {
  switch (expression.kind) {
    case 'present':
      return `exists(${member(expression.property)})`;
    case 'comparison':
      return comparison(member(expression.property), OPERATORS[expression.operator], expression.value);
    case 'not':
      return `!(${path(expression.operand)})`;
    case 'and':
      return `(${path(expression.left)} && ${path(expression.right)})`;
    default:
      return `(${path(expression.left)} || ${path(expression.right)})`;
  }
}

function comparison(property: string, operator: string, value: string | number): string {
  if (typeof value === 'string') return `(${property} ${operator} ${JSON.stringify(value)})`;
  return `(${property} like_regex ${JSON.stringify(DECIMAL)} && ${property}.double() ${operator} ${numeral(value)})`;
}

// jsonpath has no negative zero, and takes a sign only in parentheses where an operator stands before it.
function numeral(value: number): string {
  return value < 0 ? `(${value})` : String(Math.abs(value));
}

function member(property: string): string {
  return `$.${JSON.stringify(property)}`;
}
