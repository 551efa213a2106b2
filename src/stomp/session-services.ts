import type { Logger } from '@nestjs/common';
import type { Configuration } from '../config/environment.js';
import type { AuthenticationService } from '../identity/authentication.service.js';
import type { MemoryBudget } from '../memory/memory-budget.js';
import type { DeliveriesService } from '../messages/deliveries.service.js';
import type { MessageRanges } from '../messages/message-ranges.js';
import type { MessagesService } from '../messages/messages.service.js';
import type { TransactionsService } from '../messages/transactions.service.js';
import type { QueueDirectory } from '../queues/queue-directory.js';
import type { StompFigures } from './stomp-figures.js';

/** What sessions work with: the same services as REST. */
export interface SessionServices {
  readonly configuration: Configuration;
  readonly authentication: AuthenticationService;
  readonly directory: QueueDirectory;
  readonly ranges: MessageRanges;
  readonly messages: MessagesService;
  readonly deliveries: DeliveriesService;
  readonly transactions: TransactionsService;
  readonly memory: MemoryBudget;
  readonly figures: StompFigures;
  readonly logger: Logger;
}
