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

/** Characters are Unicode's, as JSON Schema and PostgreSQL count them; JavaScript's length counts some of them twice. */
const hasLength = (value: string, minimum: number, maximum: number): boolean => {
  // A string of twice the maximum is too long however it is counted.
  if (value.length < minimum || value.length > 2 * maximum) return false;
  return value.length <= maximum || Array.from(value).length <= maximum;
};

export function text(minimum: number, maximum: number, about: About): z.ZodString {
  const error = `must be a string of ${minimum} to ${maximum} characters, without NUL and half surrogate pairs`;
  return z
    .string({ error })
    .refine((value) => hasLength(value, minimum, maximum) && isStorable(value), { error })
    .meta({ ...about, minLength: minimum, maxLength: maximum });
}

const INSTANT_ERROR = 'must be a time with its zone, from 1970 to 9999, like 2026-11-22T10:26:16.123Z';

/** A point in time, as RFC 3339 writes it. */
export function instant(about: About): z.ZodType<string, unknown> {
  return z.iso
    .datetime({ offset: true, error: INSTANT_ERROR })
    .refine((value) => isStorableTime(value), { error: INSTANT_ERROR })
    .meta({ example: '2026-11-22T10:26:16.123Z', ...about });
}

const isStorableTime = (value: string): boolean => {
  const time = Date.parse(value);
  return time >= 0 && time < Date.parse('9999-12-31T00:00:00Z');
};

/** An identifier of this service or of a caller: what it may look like is no concern of validation, only its length. */
export function identifier(about: About): z.ZodString {
  return text(1, 255, about);
}

/** Whether a part of a path can be an identifier at all: what cannot be is not looked for, and not shown to PostgreSQL. */
export function isIdentifier(value: string): boolean {
  return /^[\x21-\x7e]{1,255}$/.test(value);
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

/** A list. Its length is looked at before its elements: a million wrong ones would make a million error messages. */
export function listOf<Element extends z.ZodType>(
  element: Element,
  minimum: number,
  maximum: number,
  error: string,
): z.ZodType<z.output<Element>[], unknown> {
  const list = z.array(element, { error }).min(minimum, { error }).max(maximum, { error });
  return z.preprocess((input, context) => {
    if (Array.isArray(input) && (input.length < minimum || input.length > maximum)) {
      context.addIssue({ code: 'custom', message: error });
    }
    return input;
  }, list);
}

/**
 * A map from short names to something. JSON may have a key `__proto__`, which zod would leave out of its result without
 * a word: it is refused.
 */
export function mapOf<Value extends z.ZodType>(
  value: Value,
  limits: {
    readonly keyLength: number;
    readonly keys: number;
    readonly error: string;
    /** What zod would say of each value, said once for all: a body has room for a hundred thousand wrong ones. */
    readonly areGood?: (values: readonly unknown[]) => boolean;
  },
): z.ZodType<Record<string, z.output<Value>>, unknown> {
  const { error, keyLength, keys, areGood = (): boolean => true } = limits;
  const map = z.record(z.string(), value, { error });
  return z.preprocess((input, context) => {
    if (typeof input !== 'object' || input === null || Array.isArray(input)) return input;
    const names = Object.keys(input);
    // Looked at before zod sees the values, as in listOf.
    const isGood =
      names.length <= keys &&
      names.every((name) => name !== '__proto__' && hasLength(name, 1, keyLength) && isStorable(name)) &&
      areGood(Object.values(input));
    if (!isGood) context.addIssue({ code: 'custom', message: error });
    return input;
  }, map);
}

const TAG_ERROR =
  'must be an object of strings up to 1024 characters, with at most 64 keys of 1 to 100 characters (not __proto__)';

export const freeformTags = mapOf(
  z.string({ error: TAG_ERROR }).refine((value) => hasLength(value, 0, 1024) && isStorable(value), {
    error: TAG_ERROR,
  }),
  { keyLength: 100, keys: 64, error: TAG_ERROR },
).meta({ description: 'Tags of the form {"department": "sales"}.', example: { department: 'sales' } });

const DEFINED_TAG_ERROR =
  'must be an object of namespaces with an object of tags each, at most 64 of each with names of 1 to 100 characters ' +
  '(not __proto__), 16,384 bytes of JSON and 8 levels deep, without NUL and half surrogate pairs';
const DEFINED_TAG_LIMITS = { keyLength: 100, keys: 64, error: DEFINED_TAG_ERROR };

export const definedTags = mapOf(mapOf(z.unknown(), DEFINED_TAG_LIMITS), DEFINED_TAG_LIMITS)
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
  let isGood = true;
  const json = JSON.stringify(value, (key, entry: unknown) => {
    // 1e400 is JSON, and infinite here: it would be stored as null.
    isGood &&= isStorable(key) && (typeof entry !== 'string' || isStorable(entry)) && !isInfinite(entry);
    return entry;
  });
  return isGood && Buffer.byteLength(json) <= 16_384;
}

const isInfinite = (value: unknown): boolean => typeof value === 'number' && !Number.isFinite(value);

/** How lists are asked for page by page. */
export const page = {
  limit: queryInteger(1, 1000, { description: 'How many items at most.', default: 100 }).optional(),
  page: text(1, 4096, { description: 'The opc-next-page of the answer before.' }).optional(),
};

export { isStorable };
