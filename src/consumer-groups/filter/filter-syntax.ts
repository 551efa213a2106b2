/*
 * The filter of a consumer group, as people write it. docs/filters.md is the page for them.
 *
 *   filter      = expression
 *   expression  = term *( "or" term )
 *   term        = factor *( "and" factor )
 *   factor      = "not" factor / "(" expression ")" / condition
 *   condition   = property [ operator ( string / number ) ]
 *   property    = ":" ( name / string )
 *   operator    = "=" / "!=" / "<>" / "<" / "<=" / ">" / ">="
 *   name        = 1*( letter / digit / "_" / "-" / "." )
 *   string      = '"' *( any character but '"' and "\" / "\" any of '"\/bfnrt' / "\u" 4 hex ) '"', or the same in single quotes
 *   number      = [ "-" ] digits [ "." digits ] [ ( "e" / "E" ) [ "+" / "-" ] digits ]
 *
 * "and", "or" and "not" are taken in any case; "not" binds closest, then "and".
 */

export type Operator = '=' | '!=' | '<' | '<=' | '>' | '>=';

export type Expression =
  | { readonly kind: 'present'; readonly property: string }
  | {
      readonly kind: 'comparison';
      readonly property: string;
      readonly operator: Operator;
      readonly value: string | number;
    }
  | { readonly kind: 'not'; readonly operand: Expression }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression };

export const MAX_FILTER_LENGTH = 2000;
const MAX_DEPTH = 32;

/** A filter that cannot be read; the message shows the place. */
export class FilterSyntaxError extends Error {
  override readonly name = 'FilterSyntaxError';

  constructor(
    filter: string,
    /** Where, from 0. */
    readonly position: number,
    expected: string,
  ) {
    const before = filter.slice(Math.max(0, position - 20), position);
    const after = filter.slice(position, position + 20);
    super(
      `filter: at character ${position + 1}, after ${JSON.stringify(before)}, before ${JSON.stringify(after)}: ${expected}`,
    );
  }
}

interface Token {
  readonly kind: 'property' | 'string' | 'number' | 'operator' | 'word' | '(' | ')' | 'end';
  readonly text: string;
  readonly position: number;
}

const PATTERNS: readonly (readonly [Token['kind'], RegExp])[] = [
  ['property', /:(?:[A-Za-z0-9_.-]+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/y],
  ['string', /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/y],
  ['number', /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z0-9_.])/y],
  ['operator', /<=|>=|!=|<>|=|<|>/y],
  ['word', /[A-Za-z]+/y],
  ['(', /\(/y],
  [')', /\)/y],
];
const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** Reads a filter; null for an empty one, which takes everything. Throws FilterSyntaxError. */
export function parseFilter(filter: string): Expression | null {
  if (filter.length > MAX_FILTER_LENGTH) {
    throw new FilterSyntaxError(filter, MAX_FILTER_LENGTH, `a filter has at most ${MAX_FILTER_LENGTH} characters`);
  }
  const tokens = tokenize(filter);
  if (tokens[0]?.kind === 'end') return null;
  return new Parser(filter, tokens).parse();
}

function tokenize(filter: string): Token[] {
  const tokens: Token[] = [];
  let position = 0;
  for (;;) {
    while (/\s/.test(filter[position] ?? '')) position += 1;
    if (position >= filter.length) break;
    const token = tokenAt(filter, position);
    tokens.push(token);
    position += token.text.length;
  }
  tokens.push({ kind: 'end', text: '', position });
  return tokens;
}

function tokenAt(filter: string, position: number): Token {
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = position;
    const match = pattern.exec(filter);
    if (match !== null) return { kind, text: match[0], position };
  }
  const what = filter[position];
  const hint =
    what === ':'
      ? 'a property is a colon and a name, or a name in quotes'
      : what === '"' || what === "'"
        ? 'this quote is not closed'
        : 'expected a property like :key, a string in quotes, a number, an operator, and, or, not or a parenthesis';
  throw new FilterSyntaxError(filter, position, hint);
}

class Parser {
  private next = 0;
  private depth = 0;

  constructor(
    private readonly filter: string,
    private readonly tokens: readonly Token[],
  ) {}

  parse(): Expression {
    const expression = this.expression();
    if (this.token().kind !== 'end') this.fail('expected and, or, or the end of the filter');
    return expression;
  }

  private token(): Token {
    const token = this.tokens[this.next];
    if (token === undefined) throw new Error('the parser went past the end');
    return token;
  }

  private expression(): Expression {
    let left = this.term();
    while (this.takeWord('or')) left = { kind: 'or', left, right: this.term() };
    return left;
  }

  private term(): Expression {
    let left = this.factor();
    while (this.takeWord('and')) left = { kind: 'and', left, right: this.factor() };
    return left;
  }

  private factor(): Expression {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) this.fail(`not and parentheses go at most ${MAX_DEPTH} deep`);
    const expression = this.takeWord('not') ? this.negation() : this.group();
    this.depth -= 1;
    return expression;
  }

  private negation(): Expression {
    return { kind: 'not', operand: this.factor() };
  }

  private group(): Expression {
    if (this.token().kind !== '(') return this.condition();
    this.next += 1;
    const expression = this.expression();
    if (this.token().kind !== ')') this.fail('expected and, or, or a closing parenthesis');
    this.next += 1;
    return expression;
  }

  private condition(): Expression {
    const { kind, text } = this.token();
    if (kind !== 'property') this.fail('expected a property like :key, not, or an opening parenthesis');
    const name = text.slice(1);
    const property =
      name.startsWith('"') || name.startsWith("'") ? this.unquote(name, this.token().position + 1) : name;
    this.next += 1;
    if (this.token().kind !== 'operator') return { kind: 'present', property };
    const operator = this.token().text === '<>' ? '!=' : (this.token().text as Operator);
    this.next += 1;
    return { kind: 'comparison', property, operator, value: this.value(operator) };
  }

  private value(operator: Operator): string | number {
    const { kind, text, position } = this.token();
    if (kind === 'number') {
      const value = Number(text);
      if (!Number.isFinite(value)) this.fail('this number is too large');
      this.next += 1;
      return value;
    }
    if (kind !== 'string') this.fail('expected a string in quotes or a number');
    if (operator !== '=' && operator !== '!=') this.fail(`${operator} compares numbers; a string has only = and !=`);
    this.next += 1;
    return this.unquote(text, position);
  }

  private unquote(quoted: string, position: number): string {
    const text = quoted
      .slice(1, -1)
      .replaceAll(/\\(?:u([0-9a-fA-F]{4})|(.))/gs, (_whole, hex: string | undefined, character: string | undefined) =>
        hex === undefined
          ? (ESCAPES[character ?? ''] ?? character ?? '')
          : String.fromCharCode(Number.parseInt(hex, 16)),
      );
    if (text.includes('\0') || !text.isWellFormed()) {
      throw new FilterSyntaxError(this.filter, position, 'NUL and half surrogate pairs are in no property');
    }
    return text;
  }

  private takeWord(word: string): boolean {
    const { kind, text } = this.token();
    if (kind !== 'word') return false;
    if (text.toLowerCase() === word) {
      this.next += 1;
      return true;
    }
    if (!['and', 'or', 'not'].includes(text.toLowerCase())) {
      this.fail(`${JSON.stringify(text)} is no word of filters; a property begins with a colon, a string is in quotes`);
    }
    return false;
  }

  private fail(expected: string): never {
    throw new FilterSyntaxError(this.filter, this.token().position, expected);
  }
}
