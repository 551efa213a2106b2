/** What the log says about an error. */
export interface ErrorDetails {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
  /** Where in our SQL it happened. */
  readonly sql?: string;
  readonly constraint?: string;
  readonly cause?: ErrorDetails;
}

const MAX_CAUSES = 5;

/**
 * An error for the log, made of chosen parts only: PostgreSQL's `detail`, and the lines of its context that quote data,
 * hold values of rows, which are contents of messages.
 */
export function errorDetails(error: unknown, depth = 0): ErrorDetails {
  if (typeof error !== 'object' || error === null) return { type: typeof error, message: String(error) };
  const { name, message, code, stack, where, constraint, cause } = error as Partial<Record<string, unknown>>;
  const sql = text(where)
    ?.split('\n')
    .filter((line) => line.startsWith('PL/pgSQL function '))
    .join('; ');
  const isDatabases = text((error as { severity?: unknown }).severity) !== undefined;
  return {
    type: text(name) ?? 'Error',
    // Values that PostgreSQL quotes stand in double quotes.
    message: isDatabases ? withoutValues(text(message) ?? '') : (text(message) ?? ''),
    ...present('code', text(code)),
    ...present('stack', isDatabases ? framesOf(text(stack)) : text(stack)),
    ...present('sql', sql === '' ? undefined : sql),
    ...present('constraint', text(constraint)),
    ...(cause === undefined || depth >= MAX_CAUSES ? {} : { cause: errorDetails(cause, depth + 1) }),
  };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

/** Names of tables and constraints are identifiers; whatever else is quoted may be a value of a row. */
function withoutValues(message: string): string {
  return message.replace(/"(?:[^"]|"")*"/g, (quoted) => (/^"[a-z_][a-z0-9_.]{0,62}"$/.test(quoted) ? quoted : '"…"'));
}

function framesOf(stack: string | undefined): string | undefined {
  return stack
    ?.split('\n')
    .filter((line) => /^\s+at /.test(line))
    .join('\n');
}

function present<Key extends string>(key: Key, value: string | undefined): Partial<Record<Key, string>> {
  return value === undefined ? {} : ({ [key]: value } as Record<Key, string>);
}
