import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { z } from 'zod';
import { HTTP_STATUS } from '../errors/service-error.js';
import { ERROR_RESPONSE, REQUEST_ID_HEADER } from './operation.js';

type Operation = NonNullable<OpenAPIObject['paths'][string]['get']>;
type Schema = NonNullable<NonNullable<OpenAPIObject['components']>['schemas']>[string];

const DESCRIPTION = `A message queue service on PostgreSQL that speaks the REST API of OCI Queue: its SDKs work by changing
the endpoint. Operations, fields and paths that OCI Queue does not have are marked as a Towpath extension.

Fields that are null count as absent, and fields that are not known are ignored. Times are RFC 3339 in UTC with
milliseconds. Every answer has the header \`opc-request-id\`; every error the body \`{"code", "message"}\`, where the code
decides and the message is for people.`;

type Definitions = Record<string, Record<string, unknown>> | undefined;

/** The parameters of paths. A length over 1,024 is answered with 414. */
const PATH_PARAMETERS: Readonly<Record<string, { readonly description: string; readonly example: string }>> = {
  queueId: { description: 'The OCID of the queue.', example: 'ocid1.queue.oc1.local.amaaaaaaexample' },
  messageReceipt: {
    description: 'The receipt of the delivery, as getMessages gave it.',
    example: 'AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAACAAAAAAAAAAH8pnJNNMIe80SXQr-ZzJFd',
  },
  consumerGroupId: {
    description: 'The OCID of the consumer group.',
    example: 'ocid1.queueconsumergroup.oc1.local.amaaaaaaexample',
  },
  compartmentId: {
    description: 'The OCID of the compartment.',
    example: 'ocid1.compartment.oc1.local.amaaaaaaexample',
  },
  userId: { description: 'The OCID of the user.', example: 'ocid1.user.oc1.local.amaaaaaaexample' },
  groupId: { description: 'The OCID of the group.', example: 'ocid1.group.oc1.local.amaaaaaaexample' },
  fingerprint: {
    description: 'The fingerprint of the signing key.',
    example: '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff',
  },
  apiKeyId: { description: 'The OCID of the API key.', example: 'ocid1.queueapikey.oc1.local.amaaaaaaexample' },
  authTokenId: { description: 'The OCID of the auth token.', example: 'ocid1.authtoken.oc1.local.amaaaaaaexample' },
  workRequestId: {
    description: 'The OCID of the work request.',
    example: 'ocid1.queueworkrequest.oc1.local.amaaaaaaexample',
  },
  stompSessionId: {
    description: 'The id of the STOMP session, as CONNECTED has it.',
    example: '7c9e6679-7425-40de-944b-e07fc1f90ae7',
  },
  policyId: { description: 'The OCID of the policy.', example: 'ocid1.policy.oc1.local.amaaaaaaexample' },
};
const DEAD_LETTERS =
  ' With `/dlq` after it (percent-encoded `%2Fdlq`) it names the dead letter queue: a Towpath extension.';

/** The OpenAPI description of everything that this service answers. */
export function describe(app: NestFastifyApplication, version: string): OpenAPIObject {
  const builder = new DocumentBuilder()
    .setTitle('Towpath')
    .setDescription(DESCRIPTION)
    .setVersion(version)
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addServer('/', 'This service')
    .addTag('queues', 'The control plane: queues and their settings. Every change answers with a work request.')
    .addTag(
      'consumer groups',
      'Independent ways out of a queue, each with its own filter, deliveries and dead letters.',
    )
    .addTag('work requests', 'What became of a change: whether it is done, and which queue it made.')
    .addTag('messages', 'The data plane, at the messagesEndpoint of a queue.')
    .addTag('dead letters', 'What operators do with messages that failed. A Towpath extension.')
    .addTag('STOMP sessions', 'Who is connected over STOMP. A Towpath extension.')
    .addTag('audit', 'Who changed what, and what was refused. A Towpath extension.')
    .addTag(
      'identity',
      'Compartments, users, groups and credentials of the tenancy. A Towpath extension: in OCI another service has them.',
    )
    .addTag('policies', 'What the users of a group may do, and where. A Towpath extension.')
    .addTag('operations', 'For those who run the service; without credentials.')
    .addSecurity('signature', {
      type: 'apiKey',
      in: 'header',
      name: 'Authorization',
      description: 'An OCI request signature (version 1), as every OCI SDK makes it.',
    })
    .addSecurity('apiKey', {
      type: 'http',
      scheme: 'bearer',
      bearerFormat: 'towpath_…',
      description: 'An API key: `Authorization: Bearer towpath_…`. A Towpath extension.',
    });
  const document = SwaggerModule.createDocument(app, builder.build(), { standardSchemaConverter: toOpenApi });
  const schemas = ((document.components ??= {}).schemas ??= {});
  schemas['Error'] = {
    type: 'object',
    required: ['code', 'message'],
    properties: {
      code: { type: 'string', enum: Object.keys(HTTP_STATUS), example: 'NotAuthorizedOrNotFound' },
      message: {
        type: 'string',
        description: 'What is wrong and what to do.',
        example: 'the queue does not exist or you may not use it',
      },
    },
  };
  for (const item of Object.values(document.paths)) {
    for (const operation of [item.get, item.put, item.post, item.delete]) {
      if (operation !== undefined) complete(operation, schemas);
    }
  }
  return document;
}

/** What follows for every operation from what it says of itself. */
function complete(operation: Operation, schemas: Record<string, Schema>): void {
  for (const parameter of operation.parameters ?? []) {
    const known = 'name' in parameter && parameter.in === 'path' ? PATH_PARAMETERS[parameter.name] : undefined;
    if (known === undefined || !('name' in parameter)) continue;
    const hasDeadLetters = parameter.name === 'queueId' && operation['x-towpath-dead-letters' as never] === true;
    parameter.description = known.description + (hasDeadLetters ? DEAD_LETTERS : '');
    parameter.schema = { type: 'string', minLength: 1, maxLength: 1024, example: known.example };
  }
  // A body in which nothing is required may be left out: SDKs do so with {}.
  const body = operation.requestBody;
  const schema = body !== undefined && 'content' in body ? body.content['application/json']?.schema : undefined;
  if (body !== undefined && 'content' in body && schema !== undefined && '$ref' in schema) {
    const component = schemas[schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)];
    body.required = component !== undefined && 'required' in component && (component.required?.length ?? 0) > 0;
  }
  // Those without a permission are open.
  operation.security ??= [];
  operation.responses['default'] ??= { description: 'Any other error.', ...ERROR_RESPONSE };
  for (const response of Object.values(operation.responses)) {
    if (response !== undefined && !('$ref' in response)) {
      response.headers = { 'opc-request-id': REQUEST_ID_HEADER, ...response.headers };
    }
  }
}

/**
 * A zod schema as OpenAPI; those with an id become components. Always what the schema puts out, since the input of a
 * number in a query is a string, which says nothing.
 */
function toOpenApi(schema: unknown): { schema: unknown; components?: Record<string, unknown> } | undefined {
  if (!(schema instanceof z.ZodType)) return undefined;
  const { $schema: _, ...converted } = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'output',
    override: ({ jsonSchema }) => {
      // Unknown fields are ignored, not refused.
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      // Any integer at all: the bounds of JavaScript's say nothing.
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  const { $defs, definitions, id, ...rest } = converted as Record<string, unknown>;
  const components: Record<string, unknown> = Object.fromEntries(
    Object.entries({ ...($defs as Definitions), ...(definitions as Definitions) }).map(
      ([name, { id: __, ...definition }]) => [name, definition],
    ),
  );
  if (typeof id !== 'string') return { schema: rest, components };
  // A schema that stands for itself comes as a reference to its own definition, or in place.
  return {
    schema: { $ref: `#/$defs/${id}` },
    components: typeof rest.$ref === 'string' ? components : { ...components, [id]: rest },
  };
}
