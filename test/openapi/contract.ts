/*
 * What the contract (OCI Queue, sections 1.1 to 1.5 and 4.7) says, written down from it and not from our code.
 */

export interface Operation {
  readonly method: string;
  readonly path: string;
  readonly query?: readonly string[];
  readonly requestHeaders?: readonly string[];
  readonly body?: string;
  readonly success: number;
  readonly answer?: string;
  /** Absent: application/json. */
  readonly contentType?: string;
  readonly answerHeaders?: readonly string[];
  readonly permission: string;
  /** Statuses besides 400, 401, 404, 500 and 503, which all have. */
  readonly errors?: readonly number[];
}

const QUEUE = '/20210201/queues/{queueId}';
const GROUP = '/20210201/consumerGroups/{consumerGroupId}';
const WORK_REQUEST = '/20210201/workRequests/{workRequestId}';
const CHANGE = {
  requestHeaders: ['if-match'],
  success: 202,
  answerHeaders: ['opc-work-request-id'],
} as const;
const PAGE = ['limit', 'page'] as const;
const PEEK = ['channelFilter', 'consumerGroupId', 'messageId', 'filter', 'createdAfter', 'createdBefore'] as const;

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  createQueue: {
    method: 'POST',
    path: '/20210201/queues',
    requestHeaders: ['opc-retry-token'],
    body: 'CreateQueueDetails',
    success: 202,
    answerHeaders: ['opc-work-request-id'],
    permission: 'manage queues',
    errors: [409, 413, 415],
  },
  getQueue: {
    method: 'GET',
    path: QUEUE,
    success: 200,
    answer: 'Queue',
    answerHeaders: ['etag'],
    permission: 'read queues',
  },
  listQueues: {
    method: 'GET',
    path: '/20210201/queues',
    query: ['compartmentId', 'lifecycleState', 'displayName', 'id', 'limit', 'page', 'sortOrder', 'sortBy'],
    success: 200,
    answer: 'QueueCollection',
    answerHeaders: ['opc-next-page'],
    permission: 'inspect queues',
  },
  updateQueue: {
    method: 'PUT',
    path: QUEUE,
    ...CHANGE,
    body: 'UpdateQueueDetails',
    permission: 'use queues',
    errors: [409, 412, 413, 415],
  },
  deleteQueue: { method: 'DELETE', path: QUEUE, ...CHANGE, permission: 'manage queues', errors: [409, 412] },
  changeQueueCompartment: {
    method: 'POST',
    path: `${QUEUE}/actions/changeCompartment`,
    ...CHANGE,
    body: 'ChangeQueueCompartmentDetails',
    permission: 'manage queues',
    errors: [409, 412, 413, 415],
  },
  purgeQueue: {
    method: 'POST',
    path: `${QUEUE}/actions/purge`,
    ...CHANGE,
    body: 'PurgeQueueDetails',
    permission: 'use queues',
    errors: [409, 412, 413, 415],
  },
  // Ours.
  rotateQueueKey: {
    method: 'POST',
    path: `${QUEUE}/actions/rotateKey`,
    ...CHANGE,
    permission: 'manage queues',
    errors: [409, 412],
  },
  createConsumerGroup: {
    method: 'POST',
    path: '/20210201/consumerGroups',
    requestHeaders: ['opc-retry-token'],
    body: 'CreateConsumerGroupDetails',
    success: 202,
    answerHeaders: ['opc-work-request-id'],
    permission: 'manage queues',
    errors: [409, 413, 415],
  },
  getConsumerGroup: {
    method: 'GET',
    path: GROUP,
    success: 200,
    answer: 'ConsumerGroup',
    answerHeaders: ['etag'],
    permission: 'read queues',
  },
  listConsumerGroups: {
    method: 'GET',
    path: '/20210201/consumerGroups',
    query: ['lifecycleState', 'displayName', 'id', 'queueId', 'limit', 'page', 'sortOrder', 'sortBy'],
    success: 200,
    answer: 'ConsumerGroupCollection',
    answerHeaders: ['opc-next-page'],
    permission: 'inspect queues',
  },
  updateConsumerGroup: {
    method: 'PUT',
    path: GROUP,
    ...CHANGE,
    body: 'UpdateConsumerGroupDetails',
    permission: 'use queues',
    errors: [409, 412, 413, 415],
  },
  deleteConsumerGroup: { method: 'DELETE', path: GROUP, ...CHANGE, permission: 'manage queues', errors: [409, 412] },
  getWorkRequest: {
    method: 'GET',
    path: WORK_REQUEST,
    success: 200,
    answer: 'WorkRequest',
    answerHeaders: ['retry-after'],
    permission: 'read queues',
  },
  // Ours.
  cancelWorkRequest: { method: 'DELETE', path: WORK_REQUEST, success: 202, permission: 'use queues', errors: [409] },
  redriveDeadLetters: {
    method: 'POST',
    path: `${QUEUE}/deadLetters/actions/redrive`,
    ...CHANGE,
    body: 'RedriveDeadLettersDetails',
    permission: 'use queues',
    errors: [409, 412, 413, 415],
  },
  deleteDeadLetters: {
    method: 'POST',
    path: `${QUEUE}/deadLetters/actions/delete`,
    body: 'DeleteDeadLettersDetails',
    success: 200,
    answer: 'DeleteDeadLettersResult',
    permission: 'use queues',
    errors: [413, 415],
  },
  resendDeadLetter: {
    method: 'POST',
    path: `${QUEUE}/deadLetters/actions/resend`,
    body: 'ResendDeadLetterDetails',
    success: 200,
    answer: 'ResentDeadLetter',
    permission: 'use queues',
    errors: [409, 413, 415],
  },
  listWorkRequests: {
    method: 'GET',
    path: '/20210201/workRequests',
    query: ['compartmentId', 'workRequestId', ...PAGE],
    success: 200,
    answer: 'WorkRequestSummaryCollection',
    answerHeaders: ['opc-next-page'],
    permission: 'inspect queues',
  },
  listWorkRequestErrors: {
    method: 'GET',
    path: `${WORK_REQUEST}/errors`,
    query: PAGE,
    success: 200,
    answer: 'WorkRequestErrorCollection',
    answerHeaders: ['opc-next-page'],
    permission: 'read queues',
  },
  listWorkRequestLogs: {
    method: 'GET',
    path: `${WORK_REQUEST}/logs`,
    query: PAGE,
    success: 200,
    answer: 'WorkRequestLogEntryCollection',
    answerHeaders: ['opc-next-page'],
    permission: 'read queues',
  },
  putMessages: {
    method: 'POST',
    path: `${QUEUE}/messages`,
    // Ours.
    requestHeaders: ['opc-retry-token'],
    body: 'PutMessagesDetails',
    success: 200,
    answer: 'PutMessages',
    permission: 'use queue-push',
    errors: [409, 413, 415, 429],
  },
  getMessages: {
    method: 'GET',
    path: `${QUEUE}/messages`,
    query: ['visibilityInSeconds', 'timeoutInSeconds', 'limit', 'channelFilter', 'consumerGroupId'],
    success: 200,
    answer: 'GetMessages',
    permission: 'use queue-pull',
    errors: [409, 429],
  },
  deleteMessage: {
    method: 'DELETE',
    path: `${QUEUE}/messages/{messageReceipt}`,
    query: ['consumerGroupId'],
    success: 204,
    permission: 'use queue-pull',
    errors: [429],
  },
  deleteMessages: {
    method: 'POST',
    path: `${QUEUE}/messages/actions/deleteMessages`,
    query: ['consumerGroupId'],
    body: 'DeleteMessagesDetails',
    success: 200,
    answer: 'DeleteMessagesResult',
    permission: 'use queue-pull',
    errors: [413, 415, 429],
  },
  updateMessage: {
    method: 'PUT',
    path: `${QUEUE}/messages/{messageReceipt}`,
    query: ['consumerGroupId'],
    body: 'UpdateMessageDetails',
    success: 200,
    answer: 'UpdatedMessage',
    permission: 'use queue-pull',
    errors: [413, 415, 429],
  },
  updateMessages: {
    method: 'POST',
    path: `${QUEUE}/messages/actions/updateMessages`,
    query: ['consumerGroupId'],
    body: 'UpdateMessagesDetails',
    success: 200,
    answer: 'UpdateMessagesResult',
    permission: 'use queue-pull',
    errors: [413, 415, 429],
  },
  getStats: {
    method: 'GET',
    path: `${QUEUE}/stats`,
    query: ['channelId', 'consumerGroupId'],
    success: 200,
    answer: 'QueueStats',
    permission: 'read queues',
  },
  listChannels: {
    method: 'GET',
    path: `${QUEUE}/channels`,
    query: ['consumerGroupId', 'limit', 'page', 'channelFilter'],
    success: 200,
    answer: 'ChannelCollection',
    answerHeaders: ['opc-next-page'],
    permission: 'read queues',
  },
  // Ours.
  peekMessages: {
    method: 'GET',
    path: `${QUEUE}/messages/actions/peekMessages`,
    query: [...PEEK, ...PAGE],
    success: 200,
    answer: 'PeekedMessages',
    answerHeaders: ['opc-next-page'],
    permission: 'use queue-pull',
    errors: [409],
  },
  exportDeadLetters: {
    method: 'GET',
    path: `${QUEUE}/deadLetters/actions/export`,
    query: [...PEEK, 'limit'],
    success: 200,
    answer: 'PeekedMessage',
    contentType: 'application/x-ndjson',
    permission: 'use queue-pull',
    errors: [409],
  },
};

/** [type, minimum, maximum, default] of integers; undefined where the contract says nothing. */
export const INTEGERS: Readonly<Record<string, readonly [number, number, number?]>> = {
  'CreateQueueDetails.retentionInSeconds': [10, 604_800, 86_400],
  'CreateQueueDetails.visibilityInSeconds': [1, 43_200, 30],
  'CreateQueueDetails.timeoutInSeconds': [0, 30, 30],
  'CreateQueueDetails.channelConsumptionLimit': [1, 100, 100],
  // The default is our choice (section 0, item 12).
  'CreateQueueDetails.deadLetterQueueDeliveryCount': [0, 20, 5],
  // Ours.
  'CreateQueueDetails.deduplicationWindowInSeconds': [0, 86_400, 300],
  'UpdateQueueDetails.deduplicationWindowInSeconds': [0, 86_400],
  'UpdateQueueDetails.visibilityInSeconds': [1, 43_200],
  'UpdateQueueDetails.timeoutInSeconds': [0, 30],
  'UpdateQueueDetails.channelConsumptionLimit': [1, 100],
  'UpdateQueueDetails.deadLetterQueueDeliveryCount': [0, 20],
  'CreateConsumerGroupDetails.deadLetterQueueDeliveryCount': [0, 20],
  'UpdateConsumerGroupDetails.deadLetterQueueDeliveryCount': [-1, 20],
  // Ours.
  'RedriveDeadLettersDetails.messagesPerSecond': [1, 100_000],
  'UpdateMessageDetails.visibilityInSeconds': [0, 43_200],
  'UpdateMessagesDetailsEntry.visibilityInSeconds': [0, 43_200],
  'getMessages?visibilityInSeconds': [0, 43_200],
  'getMessages?timeoutInSeconds': [0, 30],
  'getMessages?limit': [1, 20, 1],
  'listQueues?limit': [1, 1000, 100],
  'listConsumerGroups?limit': [1, 1000, 100],
  'listWorkRequests?limit': [1, 1000, 100],
  'listWorkRequestErrors?limit': [1, 1000, 100],
  'listWorkRequestLogs?limit': [1, 1000, 100],
  'listChannels?limit': [1, 1000, 100],
  'peekMessages?limit': [1, 100, 20],
  'exportDeadLetters?limit': [1, 1_000_000_000],
};

/** [minimum, maximum] of the length of strings. */
export const TEXTS: Readonly<Record<string, readonly [number, number]>> = {
  'CreateQueueDetails.displayName': [1, 255],
  'CreateQueueDetails.compartmentId': [1, 255],
  'CreateQueueDetails.customEncryptionKeyId': [0, 255],
  'UpdateQueueDetails.displayName': [1, 255],
  // Empty removes the key.
  'UpdateQueueDetails.customEncryptionKeyId': [0, 255],
  'ChangeQueueCompartmentDetails.compartmentId': [1, 255],
  'CreateConsumerGroupDetails.displayName': [1, 255],
  'CreateConsumerGroupDetails.queueId': [1, 255],
  'UpdateConsumerGroupDetails.displayName': [1, 255],
  'listConsumerGroups?displayName': [1, 255],
  'listQueues?displayName': [1, 255],
  'peekMessages?filter': [1, 2000],
  'exportDeadLetters?filter': [1, 2000],
  'createQueue:opc-retry-token': [1, 64],
  'createConsumerGroup:opc-retry-token': [1, 64],
  'putMessages:opc-retry-token': [1, 64],
};

/** [minimum, maximum] of the number of elements. */
export const LISTS: Readonly<Record<string, readonly [number, number]>> = {
  'PutMessagesDetails.messages': [1, 20],
  'DeleteMessagesDetails.entries': [1, 20],
  'UpdateMessagesDetails.entries': [1, 20],
  'PurgeQueueDetails.channelIds': [1, 256],
  // Ours.
  'RedriveDeadLettersDetails.messageIds': [1, 1000],
  'RedriveDeadLettersDetails.channelIds': [1, 256],
  'DeleteDeadLettersDetails.messageIds': [1, 20],
};

const LIFECYCLE = ['CREATING', 'UPDATING', 'ACTIVE', 'DELETING', 'DELETED', 'FAILED', 'INACTIVE'] as const;

export const ENUMS: Readonly<Record<string, readonly string[]>> = {
  'PurgeQueueDetails.purgeType': ['NORMAL', 'DLQ', 'BOTH'],
  'CapabilityDetails.type': ['LARGE_MESSAGES', 'CONSUMER_GROUPS'],
  // As the queue's, by analogy.
  'ConsumerGroup.lifecycleState': LIFECYCLE,
  'ConsumerGroupSummary.lifecycleState': LIFECYCLE,
  'listConsumerGroups?lifecycleState': LIFECYCLE,
  'Queue.lifecycleState': LIFECYCLE,
  'QueueSummary.lifecycleState': LIFECYCLE,
  'listQueues?lifecycleState': LIFECYCLE,
  'listQueues?sortOrder': ['ASC', 'DESC'],
  'listQueues?sortBy': ['timeCreated', 'displayName'],
  'WorkRequest.status': ['ACCEPTED', 'IN_PROGRESS', 'FAILED', 'SUCCEEDED', 'CANCELING', 'CANCELED'],
  'WorkRequest.operationType': [
    'CREATE_QUEUE',
    'UPDATE_QUEUE',
    'DELETE_QUEUE',
    'MOVE_QUEUE',
    'PURGE_QUEUE',
    'CREATE_CONSUMER_GROUP',
    'UPDATE_CONSUMER_GROUP',
    'DELETE_CONSUMER_GROUP',
    // Ours.
    'REDRIVE_MESSAGES',
    'ROTATE_DATA_KEY',
  ],
  'PeekedMessage.state': ['VISIBLE', 'IN_FLIGHT', 'DELAYED'],
  'WorkRequestResource.actionType': ['CREATED', 'UPDATED', 'DELETED', 'IN_PROGRESS', 'RELATED'],
};

/** Channel ids: section 4.4. */
export const CHANNEL_IDS = [
  'getMessages?channelFilter',
  'listChannels?channelFilter',
  'getStats?channelId',
  'peekMessages?channelFilter',
  'exportDeadLetters?channelFilter',
] as const;

const SUMMARY = [
  'id',
  'displayName',
  'compartmentId',
  'timeCreated',
  'timeUpdated',
  'lifecycleState',
  'lifecycleDetails?',
  'messagesEndpoint',
  'freeformTags',
  'definedTags',
  'systemTags',
  'capabilities',
] as const;
const GROUP_SUMMARY = [
  'id',
  'displayName',
  'queueId',
  'lifecycleState',
  'lifecycleDetails?',
  'filter',
  'timeCreated',
  'timeUpdated',
  'freeformTags',
  'definedTags',
  'systemTags',
] as const;
const SETTINGS = [
  'visibilityInSeconds?',
  'timeoutInSeconds?',
  'channelConsumptionLimit?',
  'deadLetterQueueDeliveryCount?',
  'customEncryptionKeyId?',
  'deduplicationWindowInSeconds?',
  'acceptUnsealed?',
  'capabilities?',
  'freeformTags?',
  'definedTags?',
] as const;
const WORK_REQUEST_FIELDS = [
  'operationType',
  'status',
  'id',
  'compartmentId',
  'resources',
  'percentComplete',
  'timeAccepted',
  'timeStarted?',
  'timeFinished?',
  // Ours.
  'redrive?',
] as const;

/** All fields of each body; `?` marks those that may be absent. */
export const FIELDS: Readonly<Record<string, readonly string[]>> = {
  CreateQueueDetails: ['displayName', 'compartmentId', 'retentionInSeconds?', ...SETTINGS],
  UpdateQueueDetails: ['displayName?', ...SETTINGS],
  ChangeQueueCompartmentDetails: ['compartmentId'],
  PurgeQueueDetails: ['purgeType', 'channelIds?', 'consumerGroupId?'],
  CapabilityDetails: [
    'type',
    'isPrimaryConsumerGroupEnabled?',
    'primaryConsumerGroupDisplayName?',
    'primaryConsumerGroupFilter?',
    'primaryConsumerGroupDeadLetterQueueDeliveryCount?',
  ],
  CreateConsumerGroupDetails: [
    'displayName',
    'queueId',
    'filter?',
    'isEnabled?',
    'deadLetterQueueDeliveryCount?',
    'freeformTags?',
    'definedTags?',
  ],
  UpdateConsumerGroupDetails: [
    'displayName?',
    'filter?',
    'isEnabled?',
    'deadLetterQueueDeliveryCount?',
    'freeformTags?',
    'definedTags?',
  ],
  ConsumerGroup: [...GROUP_SUMMARY, 'deadLetterQueueDeliveryCount?'],
  ConsumerGroupSummary: GROUP_SUMMARY,
  ConsumerGroupCollection: ['items'],
  PutMessagesDetails: ['messages'],
  // delayInSeconds and deduplicationId are ours.
  PutMessagesDetailsEntry: ['content', 'metadata?', 'delayInSeconds?', 'deduplicationId?'],
  // Ours.
  RedriveDeadLettersDetails: [
    'consumerGroupId?',
    'messageIds?',
    'channelIds?',
    'filter?',
    'createdBefore?',
    'createdAfter?',
    'diedBefore?',
    'diedAfter?',
    'targetQueueId?',
    'targetChannelId?',
    'messagesPerSecond?',
    'isDryRun?',
  ],
  RedriveProgress: ['examined', 'matched', 'redriven', 'skipped', 'failed', 'isDryRun', 'messagesPerSecond?'],
  DeleteDeadLettersDetails: ['messageIds', 'consumerGroupId?'],
  DeleteDeadLettersResult: ['serverFailures', 'clientFailures', 'entries'],
  DeleteDeadLettersResultEntry: ['errorCode?', 'errorMessage?'],
  ResendDeadLetterDetails: ['messageId', 'consumerGroupId?', 'content?', 'metadata?', 'targetQueueId?'],
  ResentDeadLetter: ['id', 'expireAfter'],
  UpdateMessageDetails: ['visibilityInSeconds'],
  UpdateMessagesDetails: ['entries'],
  UpdateMessagesDetailsEntry: ['receipt', 'visibilityInSeconds'],
  DeleteMessagesDetails: ['entries'],
  DeleteMessagesDetailsEntry: ['receipt'],
  Queue: [
    ...SUMMARY,
    'retentionInSeconds',
    'visibilityInSeconds',
    'timeoutInSeconds',
    'deadLetterQueueDeliveryCount',
    'customEncryptionKeyId?',
    'deduplicationWindowInSeconds',
    'acceptUnsealed',
    'channelConsumptionLimit',
  ],
  QueueSummary: SUMMARY,
  QueueCollection: ['items'],
  WorkRequest: WORK_REQUEST_FIELDS,
  WorkRequestSummary: WORK_REQUEST_FIELDS,
  WorkRequestSummaryCollection: ['items'],
  WorkRequestResource: ['entityType', 'actionType', 'identifier', 'entityUri'],
  WorkRequestError: ['code', 'message', 'timestamp'],
  WorkRequestErrorCollection: ['items'],
  WorkRequestLogEntry: ['message', 'timestamp'],
  WorkRequestLogEntryCollection: ['items'],
  PutMessages: ['messages'],
  PutMessage: ['id', 'expireAfter?'],
  GetMessages: ['messages'],
  GetMessage: ['id', 'content', 'receipt', 'deliveryCount', 'visibleAfter', 'expireAfter', 'createdAt', 'metadata?'],
  PeekedMessages: ['messages'],
  PeekedMessage: [
    'id',
    'content',
    'state',
    'deliveryCount',
    'visibleAfter',
    'expireAfter',
    'createdAt',
    'sizeInBytes',
    'metadata?',
    'unreadable?',
    'consumerGroupId?',
    'deliveries',
    'deadLetter?',
  ],
  Delivery: ['deliveredAt', 'deliveredTo?'],
  DeadLetter: ['diedAt', 'reason?'],
  UpdatedMessage: ['id', 'visibleAfter'],
  UpdateMessagesResult: ['serverFailures', 'clientFailures', 'entries'],
  UpdateMessagesResultEntry: ['id?', 'visibleAfter?', 'errorCode?', 'errorMessage?'],
  DeleteMessagesResult: ['serverFailures', 'clientFailures', 'entries'],
  DeleteMessagesResultEntry: ['errorCode?', 'errorMessage?'],
  QueueStats: ['queue', 'dlq', 'channelId?', 'consumerGroupId?'],
  Stats: ['visibleMessages', 'inFlightMessages', 'delayedMessages', 'sizeInBytes'],
  ChannelCollection: ['items'],
  Error: ['code', 'message'],
};

/** Section 2 and section 0, item 13. */
export const ERROR_CODES: Readonly<Record<string, number>> = {
  CannotParseRequest: 400,
  InvalidParameter: 400,
  MissingParameter: 400,
  LimitExceeded: 400,
  NotAuthenticated: 401,
  NotAuthorizedOrNotFound: 404,
  NotFound: 404,
  MethodNotAllowed: 405,
  IncorrectState: 409,
  InvalidatedRetryToken: 409,
  NoEtagMatch: 412,
  PayloadTooLarge: 413,
  TooManyRequests: 429,
  InternalServerError: 500,
  ServiceUnavailable: 503,
};
