import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { z } from 'zod';
import { HTTP_STATUS } from '../errors/service-error.js';

/** The OpenAPI description of everything that this service answers. */
export function describe(app: NestFastifyApplication, version: string): OpenAPIObject {
  const builder = new DocumentBuilder()
    .setTitle('Towpath')
    .setDescription(
      'A message queue service on PostgreSQL that speaks the REST API of OCI Queue: its SDKs work by changing the ' +
        'endpoint. Operations and fields that OCI Queue does not have are marked as a Towpath extension.',
    )
    .setVersion(version)
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An API key: towpath_…' }, 'apiKey')
    .addSecurity('signature', {
      type: 'apiKey',
      in: 'header',
      name: 'Authorization',
      description: 'An OCI request signature (version 1), as every OCI SDK makes it.',
    })
    .addServer('/');
  const document = SwaggerModule.createDocument(app, builder.build(), {
    standardSchemaConverter: toOpenApi,
  });
  document.components ??= {};
  document.components.schemas = {
    ...document.components.schemas,
    Error: {
      type: 'object',
      required: ['code', 'message'],
      properties: {
        code: { type: 'string', enum: Object.keys(HTTP_STATUS), example: 'NotAuthorizedOrNotFound' },
        message: { type: 'string', description: 'What is wrong and what to do.' },
      },
    },
  };
  return document;
}

/**
 * A zod schema as OpenAPI; those with an id become components. Always what the schema puts out, since the input of a
 * number in a query is a string, which says nothing.
 */
function toOpenApi(schema: unknown): { schema: unknown; components?: Record<string, unknown> } | undefined {
  if (!(schema instanceof z.ZodType)) return undefined;
  const {
    $defs = {},
    $schema: _,
    ...root
  } = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'output',
    override: ({ jsonSchema }) => {
      // Unknown fields are ignored, not refused.
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
    },
  });
  const components = Object.fromEntries(
    Object.entries($defs).map(([name, { id: __, ...definition }]) => [name, definition]),
  );
  const { id, ...body } = root;
  if (typeof id !== 'string') return { schema: body, components };
  return { schema: { $ref: `#/$defs/${id}` }, components: { ...components, [id]: body } };
}
