import { Validator as OpenApiValidator } from '@seriousme/openapi-schema-validator';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import { HTTP_STATUS } from '../../src/errors/service-error.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { CHANNEL_IDS, ENUMS, ERROR_CODES, FIELDS, INTEGERS, LISTS, OPERATIONS, TEXTS } from './contract.js';
import {
  bodySchemaOf,
  operationsOf,
  resolve,
  Validator,
  type Document,
  type NamedOperation,
  type Schema,
} from './document.js';

/** Answers without credentials that are no operations, but the description itself. */
const UNDESCRIBED = /^\/(?:docs|openapi\.(?:json|yaml))(?:\/|$)/;

describe('the OpenAPI description', () => {
  let pods: TestPods;
  let document: Document;
  let operations: ReadonlyMap<string, NamedOperation>;

  beforeAll(async () => {
    pods = await startTestPods();
    document = (await (await fetch(`${pods.pods[0]!.url}/openapi.json`)).json()) as Document;
    operations = new Map(operationsOf(document).map((operation) => [operation.operationId, operation]));
  });
  afterAll(async () => {
    await pods.stop();
  });

  /** `Component.field`, `operation?query`, `operation:header`. */
  const schemaAt = (place: string): Schema => {
    const [owner = '', name = ''] = place.split(/[.?:]/);
    const found = place.includes('.')
      ? document.components.schemas[owner]?.properties?.[name]
      : operations.get(owner)?.parameters?.find((parameter) => parameter.name === name)?.schema;
    if (found === undefined) throw new Error(`${place} is not in the document`);
    return resolve(document, found);
  };

  it('is valid', async () => {
    const result = await new OpenApiValidator().validate(structuredClone(document) as never);
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
    expect(document.openapi).toBe('3.0.0');
  });

  it('refers to nothing that is not there, and holds nothing that is not referred to', () => {
    const text = JSON.stringify(document);
    const references = new Set([...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, reference]) => reference!));
    const known = Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`);
    expect([...references].toSorted()).toEqual(known.toSorted());
    expect(text).not.toMatch(/"(?:definitions|\$defs|\$schema)":/);
  });

  it('is the same in YAML', async () => {
    const text = await (await fetch(`${pods.pods[0]!.url}/openapi.yaml`)).text();
    expect(text).toMatch(/^openapi: 3\.0\.0$/m);
    for (const id of operations.keys()) expect(text).toContain(`operationId: ${id}\n`);
  });

  it('has every route of the application, and no other', () => {
    const fastify: FastifyInstance = pods.pods[0]!.app.getHttpAdapter().getInstance();
    const described = operationsOf(document).map(({ method, path: route }) => `${method} ${route}`);
    // Fastify tells its routes as a tree only; what each of them has is asked one by one.
    for (const operation of operationsOf(document)) {
      const url = operation.path.replace(/\{(\w+)\}/g, ':$1');
      expect([operation.path, fastify.hasRoute({ method: operation.method as 'GET', url })]).toEqual([
        operation.path,
        true,
      ]);
    }
    const tree = fastify.printRoutes({ commonPrefix: false });
    expect(
      routesIn(tree)
        .filter((route) => !UNDESCRIBED.test(route.split(' ')[1]!))
        .toSorted(),
    ).toEqual(described.map((route) => route.replace(/\{(\w+)\}/g, ':$1')).toSorted());
  });

  describe('of the operations', () => {
    it.each(Object.entries(OPERATIONS))('has %s as the contract has it', (id, expected) => {
      const operation = operations.get(id)!;
      expect(operation).toMatchObject({ method: expected.method, path: expected.path });
      const named = (place: string): string[] =>
        (operation.parameters ?? []).filter((parameter) => parameter.in === place).map(({ name }) => name);
      expect(named('query').toSorted()).toEqual([...(expected.query ?? [])].toSorted());
      expect(named('header').toSorted()).toEqual(['opc-request-id', ...(expected.requestHeaders ?? [])].toSorted());
      expect(named('path')).toEqual([...expected.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
      expect(bodySchemaOf(operation)?.$ref).toBe(
        expected.body === undefined ? undefined : `#/components/schemas/${expected.body}`,
      );
      const success = operation.responses[expected.success]!;
      const contentType = expected.contentType ?? 'application/json';
      expect(Object.keys(success.content ?? {})).toEqual(expected.answer === undefined ? [] : [contentType]);
      expect(success.content?.[contentType]?.schema.$ref).toBe(
        expected.answer === undefined ? undefined : `#/components/schemas/${expected.answer}`,
      );
      expect(Object.keys(success.headers ?? {}).toSorted()).toEqual(
        ['opc-request-id', ...(expected.answerHeaders ?? [])].toSorted(),
      );
      const statuses = [expected.success, 400, 401, 404, 429, 500, 503, ...(expected.errors ?? [])].map(String);
      expect(Object.keys(operation.responses).toSorted()).toEqual([...statuses, 'default'].toSorted());
      expect(operation.description).toContain(`\`${expected.permission}\``);
      expect(operation.security).toEqual([{ signature: [] }, { apiKey: [] }]);
    });

    it('has no other under the API’s version', () => {
      const ids = operationsOf(document)
        .filter((operation) => operation.path.startsWith('/20210201'))
        .map(({ operationId }) => operationId);
      expect(ids.toSorted()).toEqual(Object.keys(OPERATIONS).toSorted());
    });

    it('gives every one an id, a summary, a tag that is explained, and the request id', () => {
      const tags = new Map(document.tags.map(({ name, description }) => [name, description]));
      const ids = operationsOf(document).map(({ operationId }) => operationId);
      expect(new Set(ids).size).toBe(ids.length);
      for (const operation of operationsOf(document)) {
        const { operationId: id } = operation;
        expect([id, operation.summary]).toEqual([id, expect.stringMatching(/.{10}/)]);
        expect([id, operation.tags?.length]).toEqual([id, 1]);
        expect([id, tags.get(operation.tags![0]!)]).toEqual([id, expect.stringMatching(/.{10}/)]);
        for (const [status, response] of Object.entries(operation.responses)) {
          expect([id, status, response.description]).toEqual([id, status, expect.stringMatching(/./)]);
          expect([id, status, response.headers?.['opc-request-id']?.schema.type]).toEqual([id, status, 'string']);
        }
      }
    });

    it('refers every error to the one shape, with the codes of its status', () => {
      for (const operation of operationsOf(document).filter(({ path: route }) => route.startsWith('/20210201'))) {
        const errors = Object.entries(operation.responses).filter(([status]) => !status.startsWith('2'));
        for (const [status, response] of errors) {
          const { schema, example } = response.content!['application/json']!;
          expect(schema).toEqual({ $ref: '#/components/schemas/Error' });
          const codes = [...response.description.matchAll(/`(\w+)`/g)].map(([, code]) => code!);
          for (const code of codes) expect([code, HTTP_STATUS[code as never]]).toEqual([code, Number(status)]);
          const message = 'What is wrong and what to do.';
          expect(example).toEqual(status === 'default' ? undefined : { code: codes[0], message });
        }
      }
    });

    it('explains every parameter and gives it a type', () => {
      for (const { operationId: id, parameters = [] } of operations.values()) {
        for (const { name, in: place, required, description, schema } of parameters) {
          expect([id, name, description]).toEqual([id, name, expect.stringMatching(/.{10}/)]);
          expect([id, name, schema.type]).toEqual([id, name, expect.stringMatching(/^(?:string|integer)$/)]);
          expect([id, name, required]).toEqual([id, name, place === 'path']);
          const isBounded =
            schema.maxLength !== undefined ||
            schema.maximum !== undefined ||
            schema.enum !== undefined ||
            schema.pattern !== undefined;
          expect([id, name, isBounded]).toEqual([id, name, true]);
        }
      }
    });

    it('says which paths take a dead letter queue', () => {
      const taking = [...operations.values()]
        .filter(({ parameters = [] }) => parameters.some(({ description }) => description?.includes('/dlq')))
        .map(({ operationId }) => operationId);
      expect(taking.toSorted()).toEqual(
        [
          'getMessages',
          'updateMessage',
          'updateMessages',
          'deleteMessage',
          'deleteMessages',
          'getStats',
          'listChannels',
          'peekMessages',
          'redriveDeadLetters',
          'deleteDeadLetters',
          'resendDeadLetter',
        ].toSorted(),
      );
    });

    it('requires a body only where something in it is required: SDKs drop {}', () => {
      for (const [id, { body }] of Object.entries(OPERATIONS)) {
        if (body === undefined) continue;
        const isRequired = FIELDS[body]!.some((field) => !field.endsWith('?'));
        expect([id, operations.get(id)!.requestBody!.required]).toEqual([id, isRequired]);
      }
    });

    it('marks as open what is', () => {
      for (const id of ['livez', 'readyz', 'metrics']) expect(operations.get(id)!.security).toEqual([]);
    });
  });

  describe('of the fields', () => {
    it.each(Object.entries(FIELDS))('has all of %s', (name, expected) => {
      const schema = document.components.schemas[name]!;
      const required = new Set(schema.required ?? []);
      const fields = Object.keys(schema.properties ?? {}).map((field) => (required.has(field) ? field : `${field}?`));
      expect(fields.toSorted()).toEqual([...expected].toSorted());
    });

    it('has no other bodies', () => {
      expect(Object.keys(document.components.schemas).toSorted()).toEqual(Object.keys(FIELDS).toSorted());
    });

    it.each(Object.entries(INTEGERS))('knows the range of %s', (place, [minimum, maximum, byDefault]) => {
      const schema = schemaAt(place);
      expect({ ...schema, default: schema.default }).toMatchObject({
        type: 'integer',
        minimum,
        maximum,
        default: byDefault,
      });
    });

    it.each(Object.entries(TEXTS))('knows the length of %s', (place, [minLength, maxLength]) => {
      expect(schemaAt(place)).toMatchObject({ type: 'string', minLength, maxLength });
    });

    it.each(Object.entries(LISTS))('knows how many %s may be', (place, [minItems, maxItems]) => {
      expect(schemaAt(place)).toMatchObject({ type: 'array', minItems, maxItems });
    });

    it.each(Object.entries(ENUMS))('knows the values of %s', (place, values) => {
      expect(schemaAt(place)).toMatchObject({ type: 'string', enum: values });
    });

    it('knows what a channel id looks like', () => {
      const channelIds = [...CHANNEL_IDS.map(schemaAt), schemaAt('PurgeQueueDetails.channelIds').items!];
      const { metadata } = document.components.schemas['PutMessagesDetailsEntry']!.properties!;
      channelIds.push(metadata!.properties!['channelId']!);
      for (const schema of channelIds) {
        expect(schema).toMatchObject({ type: 'string', pattern: '^[A-Za-z0-9._-]{1,64}$' });
      }
    });

    it('writes capabilities in two forms', () => {
      expect(schemaAt('Queue.capabilities').items?.$ref).toBe('#/components/schemas/CapabilityDetails');
      expect(schemaAt('QueueSummary.capabilities').items?.type).toBe('string');
    });

    it('has a number for an id, and times of one format', () => {
      for (const name of ['PutMessage', 'GetMessage', 'UpdatedMessage']) {
        expect(schemaAt(`${name}.id`).type).toBe('integer');
      }
      for (const [name, { properties = {} }] of Object.entries(document.components.schemas)) {
        for (const [field, schema] of Object.entries(properties)) {
          if (!/^time[A-Z](?!outIn)|(?:At|After)$|^timestamp$/.test(field)) continue;
          expect([name, field, schema.format]).toEqual([name, field, 'date-time']);
        }
      }
    });

    it('explains the fields of requests, and gives each body a good example', () => {
      const validator = new Validator(document);
      for (const [id, { body }] of Object.entries(OPERATIONS)) {
        if (body === undefined) continue;
        const schema = document.components.schemas[body]!;
        expect([id, schema.example]).toEqual([id, expect.any(Object)]);
        expect([id, validator.problems({ $ref: `#/components/schemas/${body}` }, schema.example)]).toEqual([id, null]);
        for (const [field, property] of Object.entries(schema.properties ?? {})) {
          if (['messages', 'entries'].includes(field)) continue;
          expect([body, field, resolve(document, property).description]).toEqual([
            body,
            field,
            expect.stringMatching(/.{5}/),
          ]);
        }
      }
    });

    it('has examples and defaults that its schemas take', () => {
      const validator = new Validator(document);
      const problems: string[] = [];
      const check = (schema: Schema, place: string): void => {
        for (const value of [schema.example, schema.default]) {
          const problem = value === undefined ? null : validator.problems(schema, value);
          if (problem !== null) problems.push(`${place}: ${problem}`);
        }
        for (const [name, property] of Object.entries(schema.properties ?? {})) check(property, `${place}.${name}`);
        if (schema.items !== undefined) check(schema.items, `${place}[]`);
      };
      for (const [name, schema] of Object.entries(document.components.schemas)) check(schema, name);
      for (const { operationId, parameters = [] } of operations.values()) {
        for (const { name, schema } of parameters) check(schema, `${operationId} ${name}`);
      }
      expect(problems).toEqual([]);
    });
  });

  it('knows every error code with its status', () => {
    expect(document.components.schemas['Error']?.properties?.['code']?.enum).toEqual(Object.keys(HTTP_STATUS));
    expect(HTTP_STATUS).toMatchObject(ERROR_CODES);
  });

  it('says how to sign in, and where it is', () => {
    expect(document.components.securitySchemes).toMatchObject({
      signature: { type: 'apiKey', in: 'header', name: 'Authorization' },
      apiKey: { type: 'http', scheme: 'bearer' },
    });
    expect(JSON.stringify(document.components.securitySchemes)).not.toMatch(/JWT/);
    expect(document.servers).toEqual([{ url: '/', description: 'This service' }]);
    expect(document.info).toMatchObject({ title: 'Towpath', version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    // Of the release that package.json names.
    expect(document.info.description).toMatch(/Towpath extension/);
  });

  describe('at /docs', () => {
    it('shows itself with what is in the package, and nothing from elsewhere', async () => {
      const base = pods.pods[0]!.url;
      for (const start of ['/docs', '/docs/']) {
        const page = await fetch(base + start);
        expect(page.status).toBe(200);
        const html = await page.text();
        const assets = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, asset]) => asset!);
        expect(assets.length).toBeGreaterThan(3);
        for (const asset of assets) {
          expect(asset).not.toMatch(/^(?:https?:)?\/\//);
          const answer = await fetch(new URL(asset, base + start));
          expect([asset, answer.status]).toEqual([asset, 200]);
          await answer.arrayBuffer();
        }
      }
    });
  });

  it('is the same where the program was built', async () => {
    const built = await startBuilt(pods.test.url, pods.dataDirectory);
    try {
      const other = (await (await fetch(`${built.url}/openapi.json`)).json()) as Document;
      expect(other).toEqual(document);
    } finally {
      await built.stop();
    }
  });
});

/** Runs dist/main.js, as `npm start` does. */
async function startBuilt(
  databaseUrl: string,
  dataDirectory: string,
): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> {
  const root = path.resolve(import.meta.dirname, '../..');
  const child: ChildProcess = spawn(process.execPath, [path.join(root, 'dist', 'main.js')], {
    cwd: root,
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: databaseUrl,
      TOWPATH_DATA_DIR: dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  let output = '';
  const url = await new Promise<string>((found, failed) => {
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      const listening = /http:\/\/127\.0\.0\.1:\d+/.exec(output);
      if (listening !== null) found(listening[0]);
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.once('exit', (code) => failed(new Error(`it ended with ${code}: ${output}`)));
  });
  return {
    url,
    stop: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** The routes in what Fastify prints: a tree whose indentation is the nesting, each with its methods behind it. */
function routesIn(tree: string): string[] {
  const routes: string[] = [];
  const prefixes: string[] = [];
  for (const line of tree.split('\n')) {
    const match = /^([│├└─\s]*)(.*?)(?: \(([A-Z, -]+)\))?$/.exec(line);
    if (match === null || match[2] === '') continue;
    const depth = Math.round((match[1] ?? '').length / 4);
    prefixes.length = Math.max(depth - 1, 0);
    const url = prefixes.join('') + (match[2] ?? '');
    prefixes.push(match[2] ?? '');
    for (const method of (match[3] ?? '').split(', ')) if (method !== '') routes.push(`${method} ${url}`);
  }
  return routes;
}
