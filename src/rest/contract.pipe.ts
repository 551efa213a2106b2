import { Injectable, type ArgumentMetadata, type PipeTransform } from '@nestjs/common';
import { z } from 'zod';
import { ServiceError } from '../errors/service-error.js';

const MAX_PROBLEMS = 5;

/**
 * Turns what came over the wire into what a handler takes. Bodies arrive as bytes, because a signature covers the
 * bytes, and become JSON here; a body, query or parameter with a schema is checked by it. Throws CannotParseRequest,
 * MissingParameter or InvalidParameter with a message that names each field.
 */
@Injectable()
export class ContractPipe implements PipeTransform {
  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    const input = metadata.type === 'body' ? parseBody(value) : value;
    const { schema } = metadata as { schema?: unknown };
    if (!(schema instanceof z.ZodType)) return input;
    const result = schema.safeParse(input);
    if (!result.success) throw toError(result.error.issues, input);
    return result.data;
  }
}

function parseBody(body: unknown): unknown {
  // SDKs drop a body that would be {}; what is required in it is then missed by the schema.
  if (!Buffer.isBuffer(body) || body.length === 0) return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(decoder.decode(body));
  } catch (error) {
    throw new ServiceError('CannotParseRequest', 'the body is not JSON in UTF-8', { cause: error });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ServiceError('CannotParseRequest', `the body must be a JSON object; it is ${kindOf(parsed)}`);
  }
  // Null counts as absent.
  return Object.fromEntries(Object.entries(parsed).filter(([, value]) => value !== null));
}

// Refuses bytes that are no UTF-8 rather than replacing them; keeps a byte order mark, which JSON does not allow.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function toError(issues: readonly z.core.$ZodIssue[], input: unknown): ServiceError {
  const problems = issues.slice(0, MAX_PROBLEMS).map((issue) => {
    const value = valueAt(input, issue.path);
    // A key of a map may be as long as the body.
    const field = issue.path.map((part) => String(part).slice(0, 64)).join('.') || 'the request';
    return value === undefined
      ? { missing: true, text: `${field} is missing: it ${issue.message}` }
      : { missing: false, text: `${field} ${issue.message}; it is ${kindOf(value)}` };
  });
  const more = issues.length > MAX_PROBLEMS ? ` (and ${issues.length - MAX_PROBLEMS} more)` : '';
  return new ServiceError(
    problems.every(({ missing }) => missing) ? 'MissingParameter' : 'InvalidParameter',
    problems.map((problem) => problem.text).join('; ') + more,
  );
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/** Says what a value is without repeating it: it may be long, or a secret. Numbers are short and help. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'string') return `a string of ${value.length} characters`;
  if (typeof value === 'number') return `the number ${value}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
