import type { Logger } from '@nestjs/common';
import type { Configuration } from '../config/environment.js';
import type { AuthenticationService } from '../identity/authentication.service.js';
import type { MemoryBudget } from '../memory/memory-budget.js';
import type { DeliveriesService } from '../messages/deliveries.service.js';
import type { GetsService } from '../messages/gets.service.js';
import type { MessageRanges } from '../messages/message-ranges.js';
import type { PutsService } from '../messages/puts.service.js';
import type { TransactionsService } from '../messages/transactions.service.js';
import type { QueueDirectory } from '../queues/queue-directory.js';
import type { StompFigures } from './stomp-figures.js';

/** What sessions work with: the same services as REST. */
export interface SessionServices {
  readonly configuration: Configuration;
  readonly authentication: AuthenticationService;
  readonly directory: QueueDirectory;
  readonly ranges: MessageRanges;
  readonly puts: PutsService;
  readonly gets: GetsService;
  readonly deliveries: DeliveriesService;
  readonly transactions: TransactionsService;
  readonly memory: MemoryBudget;
  readonly figures: StompFigures;
  readonly logger: Logger;
}
