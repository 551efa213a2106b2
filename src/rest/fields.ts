import { z } from 'zod';

/**
 * The kinds of fields that requests have. Each says in one sentence what it takes; that sentence is the error message
 * too, after the field's name.
 */
interface About {
  readonly description: string;
  readonly example?: unknown;
  readonly default?: unknown;
}

// PostgreSQL stores no NUL in text; half a surrogate pair is no Unicode and would be changed silently.
const isStorable = (value: string): boolean => !value.includes('\0') && value.isWellFormed();

export function integer(minimum: number, maximum: number, about: About): z.ZodNumber {
  const error = `must be an integer from ${minimum} to ${maximum}`;
  return z
    .number({ error })
    .int({ error })
    .min(minimum, { error })
    .max(maximum, { error })
    .meta({ ...about });
}

export function text(minimum: number, maximum: number, about: About): z.ZodString {
  const error = `must be a string of ${minimum} to ${maximum} characters, without NUL and half surrogate pairs`;
  return z
    .string({ error })
    .min(minimum, { error })
    .max(maximum, { error })
    .refine(isStorable, { error })
    .meta({ ...about });
}

/** An identifier of this service or of a caller: what it may look like is no concern of validation, only its length. */
export function identifier(about: About): z.ZodString {
  return text(1, 255, about);
}

export function oneOf<const Values extends readonly [string, ...string[]]>(
  values: Values,
  about: About,
): z.ZodEnum<{ [Value in Values[number]]: Value }> {
  return z.enum(values, { error: `must be one of ${values.join(', ')}` }).meta({ ...about });
}

const numberOfDigits = (value: unknown): unknown =>
  typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;

/** A number in a query string: decimal digits and nothing else. */
export function queryInteger(minimum: number, maximum: number, about: About): z.ZodType<number, unknown> {
  return z.preprocess(numberOfDigits, integer(minimum, maximum, about)).meta({ ...about });
}

const CHANNEL_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** A channel that may be asked for. */
export function channelId(about: About): z.ZodString {
  const error = 'must be a channel id: 1 to 64 of the characters A-Z a-z 0-9 . _ -';
  return z
    .string({ error })
    .regex(CHANNEL_ID, { error })
    .meta({ ...about });
}

/** A channel that may be put into: `dlq` is reserved, since `<queue>/dlq` names the dead letter queue. */
export function newChannelId(about: About): z.ZodString {
  return channelId(about).refine((id) => id !== 'dlq', { error: 'must not be dlq: that names the dead letter queue' });
}

const TAG_ERROR = 'must be an object of strings, with at most 64 keys of 1 to 100 characters';

export const freeformTags = z
  .record(z.string().min(1).max(100).refine(isStorable), z.string().max(1024).refine(isStorable), { error: TAG_ERROR })
  .refine((tags) => Object.keys(tags).length <= 64, { error: TAG_ERROR })
  .meta({ description: 'Tags of the form {"department": "sales"}.', example: { department: 'sales' } });

const DEFINED_TAG_ERROR =
  'must be an object of namespaces with an object of tags each, at most 16,384 bytes of JSON and 8 levels deep';

export const definedTags = z
  .record(z.string().min(1).max(100), z.record(z.string().min(1).max(100), z.unknown()), { error: DEFINED_TAG_ERROR })
  .refine((tags) => isShallow(tags, 8) && isSmallAndStorable(tags), { error: DEFINED_TAG_ERROR })
  .meta({
    description: 'Tags in namespaces, of the form {"operations": {"costCenter": 42}}.',
    example: { operations: { costCenter: 42 } },
  });

/** Looks level by level, without recursion: hostile nesting must not overflow the stack. */
function isShallow(value: unknown, levels: number): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; depth < levels; depth += 1) {
    level = level.flatMap((entry) => (typeof entry === 'object' && entry !== null ? Object.values(entry) : []));
    if (level.length === 0) return true;
  }
  return false;
}

function isSmallAndStorable(value: unknown): boolean {
  const json = JSON.stringify(value);
  return json.length <= 16384 && !json.includes('\\u0000') && !/\\ud[89a-f]/i.test(json);
}

export { isStorable };
