import { ServiceError } from '../../errors/service-error.js';
import { toJsonPath } from './filter-jsonpath.js';
import { FilterSyntaxError, parseFilter, type Expression } from './filter-syntax.js';

/** A filter read; null: it takes everything. Throws InvalidParameter that points at the place. */
export function readFilter(filter: string | undefined): Expression | null {
  try {
    return parseFilter(filter ?? '');
  } catch (error) {
    if (error instanceof FilterSyntaxError) throw new ServiceError('InvalidParameter', error.message, { cause: error });
    throw error;
  }
}

/** A filter as a jsonpath predicate; null: it takes everything. Throws InvalidParameter that points at the place. */
export function compileFilter(filter: string | undefined): string | null {
  return toJsonPath(readFilter(filter));
}
