import { Ajv, type ValidateFunction } from 'ajv';

/** As much of an OpenAPI document as the tests look at. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly nullable?: boolean;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  readonly default?: unknown;
  readonly example?: unknown;
  readonly format?: string;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly description?: string;
  readonly schema: Schema;
}

export interface Response {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly description?: string; readonly schema: Schema }>>;
  readonly content?: Readonly<Record<string, { readonly schema: Schema; readonly example?: unknown }>>;
}

export interface OperationObject {
  readonly operationId: string;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: {
    readonly required?: boolean;
    readonly content: Readonly<Record<string, { readonly schema: Schema }>>;
  };
  readonly responses: Readonly<Record<string, Response>>;
}

export interface Document {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly servers: readonly { readonly url: string; readonly description?: string }[];
  readonly tags: readonly { readonly name: string; readonly description?: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly securitySchemes: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
}

export interface NamedOperation extends OperationObject {
  readonly method: string;
  readonly path: string;
}

export function operationsOf(document: Document): NamedOperation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
  );
}

export function bodySchemaOf(operation: OperationObject): Schema | undefined {
  return operation.requestBody?.content['application/json']?.schema;
}

/** Follows a reference, if it is one. */
export function resolve(document: Document, schema: Schema): Schema {
  if (schema.$ref === undefined) return schema;
  const name = schema.$ref.replace('#/components/schemas/', '');
  const found = document.components.schemas[name];
  if (found === undefined) throw new Error(`${schema.$ref} is not in the document`);
  return found;
}

/** Compiles schemas of the document. OpenAPI 3.0's schemas are JSON Schema but for `nullable` and `example`. */
export class Validator {
  // Ajv comes with the validator of OpenAPI documents.
  private readonly ajv = new Ajv({ strict: false, allErrors: true, logger: false });
  private readonly compiled = new Map<string, ValidateFunction>();

  constructor(private readonly document: Document) {
    this.ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    this.ajv.addSchema({ $id: 'document', components: document.components as object });
  }

  /** Why the value is none of the schema; null where it is one. */
  problems(schema: Schema, value: unknown): string | null {
    const key = JSON.stringify(schema);
    let validate = this.compiled.get(key);
    if (validate === undefined) {
      validate = this.ajv.compile(JSON.parse(key.replaceAll('"#/components', '"document#/components')) as object);
      this.compiled.set(key, validate);
    }
    return validate(value) ? null : this.ajv.errorsText(validate.errors);
  }

  /** Why an answer is not what the document says of the operation; null where it is. */
  problemsOfAnswer(
    operation: OperationObject,
    answer: {
      readonly status: number;
      readonly text: string;
      readonly headers: Readonly<Record<string, unknown>>;
      readonly json: unknown;
    },
  ): string | null {
    const response =
      operation.responses[String(answer.status)] ?? (answer.status >= 400 ? operation.responses['default'] : undefined);
    if (response === undefined) return `the status ${answer.status} is not documented`;
    const missing = Object.keys(response.headers ?? {}).filter(
      // There is a next page only sometimes, and most queues are durable.
      (name) => name !== 'opc-next-page' && name !== 'towpath-durability' && answer.headers[name] === undefined,
    );
    if (missing.length > 0) return `the headers ${missing.join(', ')} are missing`;
    const schema = response.content?.['application/json']?.schema;
    if (schema === undefined) return answer.text === '' || response.content !== undefined ? null : 'there is a body';
    return this.problems(this.strict(schema), answer.json);
  }

  /** The same schema, but with nothing in it that is not documented. */
  private strict(schema: Schema): Schema {
    const walk = (entry: Schema): Schema => {
      const found = resolve(this.document, entry);
      return {
        ...found,
        ...(found.items !== undefined && { items: walk(found.items) }),
        ...(found.properties !== undefined && {
          properties: Object.fromEntries(
            Object.entries(found.properties).map(([name, property]) => [name, walk(property)]),
          ),
          additionalProperties: found.additionalProperties ?? false,
        }),
      };
    };
    return walk(schema);
  }
}
