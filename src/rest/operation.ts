import { applyDecorators, HttpCode, SetMetadata } from '@nestjs/common';
import { ApiExtension, ApiHeader, ApiOperation, ApiProduces, ApiResponse, ApiSecurity } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { HTTP_STATUS, type ErrorCode } from '../errors/service-error.js';
import { AllowsOwnUser, OPERATION_ID, Requires, type Permission } from '../identity/permission.js';

/** The version of the API, first in every path. SDKs append it to the endpoint that they are given. */
export const API_VERSION = '20210201';

interface Success {
  readonly status: 200 | 202 | 204;
  readonly description: string;
  /** The schema of the body; absent: none. */
  readonly schema?: unknown;
  /** Absent: application/json. */
  readonly contentType?: string;
  /** Response headers besides opc-request-id, with what each says. */
  readonly headers?: Readonly<Record<string, string>>;
}

interface OperationOptions {
  /** The operation's name in the SDKs. */
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  readonly permission: Permission;
  /** True where callers need no permission for what is their own user's: the path's `userId`. */
  readonly allowsOwnUser?: boolean;
  readonly success: Success;
  /** The codes that it may answer besides those that any operation may. */
  readonly errors?: readonly ErrorCode[];
  /** Request headers besides opc-request-id: what each says, and how long it may be. */
  readonly headers?: Readonly<Record<string, { readonly description: string; readonly maxLength?: number }>>;
  /** True where the path takes a dead letter queue too. */
  readonly takesDeadLetters?: boolean;
  /** True for what OCI Queue does not have. */
  readonly isExtension?: boolean;
}

const ANYWHERE: readonly ErrorCode[] = [
  'CannotParseRequest',
  'InvalidParameter',
  'MissingParameter',
  'NotAuthenticated',
  'NotAuthorizedOrNotFound',
  'TooManyRequests',
  'InternalServerError',
  'ServiceUnavailable',
];

const header = (description: string): { description: string; schema: { type: 'string' } } => ({
  description,
  schema: { type: 'string' },
});
const RETRY_AFTER_HEADER = header('Seconds after which a repeat may succeed.');
export const REQUEST_ID_HEADER = header('The id of the request: the one sent, or a new one. It is in the log too.');

/** What every error looks like. */
export const ERROR_RESPONSE = {
  headers: { 'opc-request-id': REQUEST_ID_HEADER },
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
} as const;

/** Everything that the description and the guard must know of a route, said once beside it. */
export function Operation(options: OperationOptions): MethodDecorator {
  const { success } = options;
  const byStatus = Object.groupBy([...ANYWHERE, ...(options.errors ?? [])], (code) => String(HTTP_STATUS[code]));
  const headers = Object.entries(success.headers ?? {}).map(([name, text]) => [name, header(text)] as const);
  return applyDecorators(
    Requires(options.permission),
    SetMetadata(OPERATION_ID, options.id),
    HttpCode(success.status),
    ApiOperation({
      operationId: options.id,
      summary: options.summary,
      description: [
        options.description,
        `Needs the permission \`${options.permission}\`${options.allowsOwnUser === true ? '; for your own user none' : ''}.`,
      ]
        .filter(Boolean)
        .join('\n\n'),
    }),
    ApiProduces(success.contentType ?? 'application/json'),
    ApiSecurity('signature'),
    ApiSecurity('apiKey'),
    ApiHeader({
      name: 'opc-request-id',
      required: false,
      description: 'An id for this request, of printable ASCII; absent, or another: one is made.',
      schema: { type: 'string', minLength: 1, maxLength: 128 },
    }),
    ...Object.entries(options.headers ?? {}).map(([name, { description, maxLength = 255 }]) =>
      ApiHeader({ name, required: false, description, schema: { type: 'string', minLength: 1, maxLength } }),
    ),
    ApiResponse({
      status: success.status,
      description: success.description,
      ...(success.schema === undefined ? {} : { standardSchema: success.schema as never }),
      headers: { 'opc-request-id': REQUEST_ID_HEADER, ...Object.fromEntries(headers) },
    }),
    ...Object.entries(byStatus).map(([status, codes]) =>
      ApiResponse({
        status: Number(status),
        description: `\`${[...new Set(codes)].join('`, `')}\``,
        ...ERROR_RESPONSE,
        headers: {
          ...ERROR_RESPONSE.headers,
          ...(status === '429' ? { 'retry-after': RETRY_AFTER_HEADER } : {}),
        },
        content: {
          'application/json': {
            ...ERROR_RESPONSE.content['application/json'],
            example: { code: codes?.[0], message: 'What is wrong and what to do.' },
          },
        },
      }),
    ),
    ...(options.allowsOwnUser === true ? [AllowsOwnUser()] : []),
    ...(options.takesDeadLetters === true ? [ApiExtension('x-towpath-dead-letters', true)] : []),
    ...(options.isExtension === true ? [ApiExtension('x-towpath-extension', true)] : []),
  );
}

/** The response header of operations that start a work request. */
export const WORK_REQUEST_HEADER = {
  'opc-work-request-id': 'The work request; getWorkRequest tells when it is done and what it made.',
} as const;
/** Names the work request that an operation has started. */
export function accept(reply: FastifyReply, request: { readonly id: string }): void {
  void reply.header('opc-work-request-id', request.id);
}

/** The response header of operations on messages, on queues that are not as durable as others. */
export const DURABILITY_HEADER = {
  'towpath-durability':
    'Towpath extension: `relaxed` where the queue has the durability RELAXED: puts and deletions that were confirmed in the ' +
    'last moments before the server of the database crashes may be undone. Absent on all other queues.',
} as const;
/** Answers with the outcome, and with the header where it needs it. */
export function tellDurability<Outcome>(
  reply: FastifyReply,
  { outcome, durability }: { readonly outcome: Outcome; readonly durability: 'FULL' | 'RELAXED' },
): Outcome {
  if (durability === 'RELAXED') void reply.header('towpath-durability', 'relaxed');
  return outcome;
}

export const RETRY_TOKEN_HEADER = {
  'opc-retry-token': {
    description:
      'For 24 hours a repeat with the same token and body answers with the first work request and creates nothing.',
    maxLength: 64,
  },
} as const;
/** Of a put, whose repeats are remembered by the queue. */
export const PUT_RETRY_TOKEN_HEADER = {
  'opc-retry-token': {
    description:
      'Towpath extension: within the deduplication window of the queue a repeat with the same token and messages answers ' +
      'with the first ids and stores nothing.',
    maxLength: 64,
  },
} as const;
/** Of answers that hold a secret. */
export const SECRET_HEADER = { 'cache-control': 'no-store, since the answer holds a secret.' } as const;
export const NEXT_PAGE_HEADER = { 'opc-next-page': 'Where the next page begins; absent on the last one.' } as const;
export const IF_MATCH_HEADER = {
  'if-match': { description: 'Only if the ETag is still this one, with or without quotes; absent or *: in any case.' },
} as const;
