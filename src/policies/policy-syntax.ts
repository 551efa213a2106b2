import { isOfTenancy, RESOURCE_TYPES, VERBS, type StatementType, type Verb } from './resource-types.js';

/*
 * A statement of a policy, as people write it. docs/policies.md is the page for them.
 *
 *   statement   = "allow" subject "to" verb resource-type "in" place [ "where" condition ]
 *   subject     = "any-user" / "group" group *( "," group )
 *   group       = name / "id" name
 *   place       = "tenancy" / "compartment" ( name *( ":" name ) / "id" name )
 *   condition   = comparison / ( "any" / "all" ) "{" condition *( "," condition ) "}"
 *   comparison  = variable ( "=" / "!=" ) ( string / pattern )
 *   variable    = "target.queue.id" / "target.queue.name"
 *   name        = 1*( letter / digit / "_" / "-" / "." / "@" / "+" ) / string
 *   string      = "'" *( any character but "'" ) "'", or the same in double quotes
 *   pattern     = "/" *( any character but "/"; "*" stands for any characters, or none ) "/"
 *
 * Words, verbs, resource types and variables are taken in any case; names, strings and patterns as they are.
 */

export type Variable = 'target.queue.id' | 'target.queue.name';

export type Condition =
  | { readonly any: readonly Condition[] }
  | { readonly all: readonly Condition[] }
  | { readonly variable: Variable; readonly operator: '=' | '!='; readonly value: string; readonly isPattern: boolean };

/** What a statement says; its JSON is what the database keeps. */
export interface Statement {
  /** Absent: every user of the tenancy. */
  readonly groups?: readonly ({ readonly name: string } | { readonly id: string })[];
  readonly verb: Verb;
  readonly resourceType: StatementType;
  /** Empty: the tenancy. */
  readonly location: { readonly path?: readonly string[]; readonly id?: string };
  readonly condition?: Condition;
}

export const MAX_STATEMENT_LENGTH = 2000;
const MAX_DEPTH = 8;
const VARIABLES: readonly Variable[] = ['target.queue.id', 'target.queue.name'];

/** A statement that cannot be read; the message shows the place. */
export class PolicySyntaxError extends Error {
  override readonly name = 'PolicySyntaxError';

  constructor(
    statement: string,
    /** Where, from 0. */
    readonly position: number,
    expected: string,
  ) {
    const before = statement.slice(Math.max(0, position - 20), position).toWellFormed();
    const after = statement.slice(position, position + 20).toWellFormed();
    super(
      `at character ${position + 1}, after ${JSON.stringify(before)}, before ${JSON.stringify(after)}: ${expected}`,
    );
  }
}

interface Token {
  readonly kind: 'word' | 'string' | 'pattern' | 'operator' | ',' | ':' | '{' | '}' | 'end';
  readonly text: string;
  readonly position: number;
}

const PATTERNS: readonly (readonly [Token['kind'], RegExp])[] = [
  ['string', /'[^']*'|"[^"]*"/y],
  ['pattern', /\/[^/]*\//y],
  ['word', /[\p{L}\p{N}_.@+-]+/uy],
  ['operator', /!=|=/y],
  [',', /,/y],
  [':', /:/y],
  ['{', /\{/y],
  ['}', /\}/y],
];

/** Reads a statement. Throws PolicySyntaxError. */
export function parseStatement(statement: string): Statement {
  if (statement.length > MAX_STATEMENT_LENGTH) {
    throw new PolicySyntaxError(
      statement,
      MAX_STATEMENT_LENGTH,
      `a statement has at most ${MAX_STATEMENT_LENGTH} characters`,
    );
  }
  return new Parser(statement, tokenize(statement)).parse();
}

function tokenize(statement: string): Token[] {
  const tokens: Token[] = [];
  let position = 0;
  for (;;) {
    while (/\s/.test(statement[position] ?? '')) position += 1;
    if (position >= statement.length) break;
    const token = tokenAt(statement, position);
    tokens.push(token);
    position += token.text.length;
  }
  tokens.push({ kind: 'end', text: '', position });
  return tokens;
}

function tokenAt(statement: string, position: number): Token {
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = position;
    const match = pattern.exec(statement);
    if (match !== null) return { kind, text: match[0], position };
  }
  const what = statement[position];
  const hint =
    what === '"' || what === "'"
      ? 'this quote is not closed'
      : what === '/'
        ? 'this pattern is not closed: it ends with a slash'
        : 'expected a word; names with other characters than letters, digits and _ - . @ + stand in quotes';
  throw new PolicySyntaxError(statement, position, hint);
}

class Parser {
  private next = 0;
  private depth = 0;

  constructor(
    private readonly statement: string,
    private readonly tokens: readonly Token[],
  ) {}

  parse(): Statement {
    this.expect('allow');
    const groups = this.subject();
    this.expect('to');
    const verb = this.oneOf(VERBS, 'a verb');
    const resourceType = this.oneOf(RESOURCE_TYPES, 'a resource type');
    this.expect('in');
    const location = this.place(resourceType);
    const condition = this.takeWord('where') ? this.condition() : undefined;
    if (this.token().kind !== 'end') {
      this.fail(condition === undefined ? 'expected where, or the end of the statement' : 'expected the end');
    }
    return {
      ...(groups === undefined ? {} : { groups }),
      verb,
      resourceType,
      location,
      ...(condition === undefined ? {} : { condition }),
    };
  }

  private subject(): Statement['groups'] {
    if (this.takeWord('any-user')) return undefined;
    if (!this.takeWord('group')) this.fail('expected group and its name, or any-user');
    const groups = [this.group()];
    while (this.take(',')) groups.push(this.group());
    return groups;
  }

  private group(): { readonly name: string } | { readonly id: string } {
    return this.takeWord('id')
      ? { id: this.named('the OCID of a group') }
      : { name: this.named('the name of a group') };
  }

  private place(resourceType: StatementType): Statement['location'] {
    if (this.takeWord('tenancy')) return {};
    if (isOfTenancy(resourceType)) this.fail(`expected tenancy: ${resourceType} is in no compartment`);
    if (!this.takeWord('compartment')) this.fail('expected tenancy, or compartment and its name');
    if (this.takeWord('id')) return { id: this.named('the OCID of a compartment') };
    const path = [this.named('the name of a compartment')];
    while (this.take(':')) path.push(this.named('the name of a compartment'));
    return { path };
  }

  private condition(): Condition {
    const all = this.isWord('all');
    if (!all && !this.isWord('any')) return this.comparison();
    this.depth += 1;
    if (this.depth > MAX_DEPTH) this.fail(`any and all go at most ${MAX_DEPTH} deep`);
    this.next += 1;
    if (!this.take('{')) this.fail('expected an opening brace');
    const conditions = [this.condition()];
    while (this.take(',')) conditions.push(this.condition());
    if (!this.take('}')) this.fail('expected a comma or a closing brace');
    this.depth -= 1;
    return all ? { all: conditions } : { any: conditions };
  }

  private comparison(): Condition {
    const variable = this.oneOf(VARIABLES, 'any, all or a variable');
    const operator = this.token().text;
    if (operator !== '=' && operator !== '!=') this.fail('expected = or !=');
    this.next += 1;
    const { kind, text } = this.token();
    if (kind !== 'string' && kind !== 'pattern') {
      this.fail("expected a string in quotes, like 'orders', or a pattern between slashes, like /orders-*/");
    }
    this.next += 1;
    return { variable, operator, value: this.checked(text.slice(1, -1)), isPattern: kind === 'pattern' };
  }

  private named(what: string): string {
    const { kind, text } = this.token();
    if (kind !== 'word' && kind !== 'string') this.fail(`expected ${what}`);
    const name = kind === 'string' ? text.slice(1, -1) : text;
    if (name === '') this.fail(`expected ${what}, which is not empty`);
    this.next += 1;
    return this.checked(name);
  }

  private checked(text: string): string {
    // PostgreSQL stores neither.
    if (text.includes('\0') || !text.isWellFormed()) {
      this.next -= 1;
      this.fail('NUL and half surrogate pairs are in no name');
    }
    return text;
  }

  private oneOf<Word extends string>(words: readonly Word[], what: string): Word {
    const { kind, text } = this.token();
    const word = kind === 'word' ? words.find((candidate) => candidate === text.toLowerCase()) : undefined;
    if (word === undefined) this.fail(`expected ${what}: ${words.join(', ')}`);
    this.next += 1;
    return word;
  }

  private expect(word: string): void {
    if (!this.takeWord(word)) this.fail(`expected ${word}`);
  }

  private isWord(word: string): boolean {
    const { kind, text } = this.token();
    return kind === 'word' && text.toLowerCase() === word;
  }

  private takeWord(word: string): boolean {
    if (!this.isWord(word)) return false;
    this.next += 1;
    return true;
  }

  private take(kind: Token['kind']): boolean {
    if (this.token().kind !== kind) return false;
    this.next += 1;
    return true;
  }

  private token(): Token {
    const token = this.tokens[this.next];
    if (token === undefined) throw new Error('the parser went past the end');
    return token;
  }

  private fail(expected: string): never {
    throw new PolicySyntaxError(this.statement, this.token().position, expected);
  }
}
