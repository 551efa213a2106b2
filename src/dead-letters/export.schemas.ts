import { z } from 'zod';
import { peekConditions } from '../messages/peek.schemas.js';
import { queryInteger } from '../rest/fields.js';

export const exportDeadLettersQuery = z.object({
  ...peekConditions,
  limit: queryInteger(1, 1_000_000_000, { description: 'How many dead letters at most; absent: all.' }).optional(),
});
export type ExportDeadLettersQuery = z.infer<typeof exportDeadLettersQuery>;
