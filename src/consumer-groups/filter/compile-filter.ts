import { ServiceError } from '../../errors/service-error.js';
import { toJsonPath } from './filter-jsonpath.js';
import { FilterSyntaxError, parseFilter } from './filter-syntax.js';

/** A filter as a jsonpath; null where it takes everything. Throws InvalidParameter, which points at the place. */
export function compileFilter(filter: string | undefined): string | null {
  try {
    return toJsonPath(parseFilter(filter ?? ''));
  } catch (error) {
    if (error instanceof FilterSyntaxError) throw new ServiceError('InvalidParameter', error.message, { cause: error });
    throw error;
  }
}
