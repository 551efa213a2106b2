import { readConfiguration, type Configuration } from '../../src/config/environment.js';
import type { LimitFunctions } from '../../src/database/limit-functions.js';
import type { MessageToPut, PutMessage } from '../../src/database/put-functions.js';
import type { Queue } from '../../src/database/queue-functions.js';

/** What limits look at of a queue. */
export const queueOf = (queueId = 1, channelConsumptionLimit = 100, tenancyId = 'tenancy'): Queue =>
  ({ queueId, channelConsumptionLimit, tenancyId }) as Queue;

export const messageOf = (sizeInBytes: number, channelId = ''): MessageToPut => ({
  content: Buffer.alloc(0),
  channelId,
  properties: null,
  delayInSeconds: 0,
  sizeInBytes,
});

/** As the database answers a put that so many consumer groups take. */
export const storedIn = (messages: readonly MessageToPut[], groups = 1): PutMessage[] =>
  messages.map((_, id) => ({
    id,
    expireAfter: new Date(),
    consumerGroupIds: Array.from({ length: groups }, (__, index) => index),
  }));

export const limitedTo = (environment: Record<string, string>): Configuration => readConfiguration(environment);

export const functionsOf = (functions: Partial<LimitFunctions>): LimitFunctions => functions as LimitFunctions;
