import fc from 'fast-check';
import {
  bodySchemaOf,
  operationsOf,
  resolve,
  Validator,
  type Document,
  type NamedOperation,
  type Schema,
} from '../openapi/document.js';
import { untilDead } from '../support/dead-letters.js';
import { plantSession } from '../support/planted-session.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, digestOf, faultOfError, makeStranger, type Answer, type Call } from './support.js';

/*
 * Every operation of the OpenAPI document, every path, query, header and body field in it, with every kind of value that
 * does not belong there. Fields and operations that are added later are covered by being in the document.
 *
 * What must hold, whatever is sent: never a 5xx; a 2xx only where the document's own schema takes the value; a 4xx has
 * the contract's form and has changed nothing in the database.
 */

const API = '/20210201';
const DEEP = 100_000;
const STATEMENTS = ['allow group Administrators to use queue-push in compartment default'];

/** As JSON text, since not all of it can be made by JSON.stringify. */
const HOSTILE_JSON: readonly string[] = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '1',
  '-1',
  '1.5',
  '10.0',
  '2147483648',
  '-2147483649',
  '9007199254740993',
  '9223372036854775808',
  '1e308',
  '1e400',
  '-1e400',
  '1e-400',
  '""',
  '" "',
  '"0"',
  '"NaN"',
  '"Infinity"',
  '"null"',
  '"undefined"',
  '"\\u0000"',
  '"a\\u0000b"',
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"\\ud83d\\udef6"',
  '"\\ufffe\\uffff"',
  '"\\u202e\\u0301\\u200b"',
  `"${'x'.repeat(256)}"`,
  `"${'x'.repeat(100_000)}"`,
  `"${'🛶'.repeat(300)}"`,
  `"'; drop table message; --"`,
  `"$$; call sleep(10); $$"`,
  '"$1"',
  '"%s%n%x"',
  '"../../etc/passwd"',
  '"<script>alert(1)</script>"',
  '"${jndi:ldap://x}"',
  '"__proto__"',
  '"constructor"',
  '"\\r\\nx-injected: 1"',
  '[]',
  '[null]',
  '[[]]',
  '[{}]',
  '["a","a"]',
  '{}',
  '{"":""}',
  '{"a":null}',
  '{"__proto__":{"polluted":true}}',
  '{"__proto__":"x"}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '{"toString":"x","valueOf":1,"toJSON":"y","then":"z","length":-1}',
  '{"\\u0000":"\\u0000"}',
  '{"\\ud800":"\\udfff"}',
  '{"$ref":"#/x","type":"LARGE_MESSAGES","receipt":1}',
  `${'['.repeat(DEEP)}${']'.repeat(DEEP)}`,
  `${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`,
  `{${Array.from({ length: 10_000 }, (_, index) => `"k${index}":"v"`).join(',')}}`,
  `[${Array.from({ length: 10_000 }, () => '1').join(',')}]`,
];

/** As they stand in a path or a query. */
const HOSTILE_TEXT: readonly string[] = [
  '0',
  '-1',
  '1.5',
  '1e9',
  '99999999999999999999',
  'NaN',
  'null',
  'undefined',
  'true',
  '[]',
  '%7B%7D',
  '%00',
  'a%00b',
  '%ED%A0%80',
  '%F0%9F%9B%B6',
  '%C3%A9',
  '%E2%80%AE',
  '%0D%0Ax-injected:%201',
  "'%20or%201=1--",
  "';drop%20table%20message;--",
  '$1',
  '%25s%25n',
  '..%2F..%2Fetc%2Fpasswd',
  '%2Fdlq',
  '%2F',
  '%3Cscript%3E',
  '__proto__',
  'constructor',
  '+',
  '%2B',
  '*',
  'x'.repeat(256),
  'x'.repeat(1024),
  'x'.repeat(3000),
  '%F0%9F%9B%B6'.repeat(300),
];

const HOSTILE_HEADERS: readonly string[] = [
  '',
  ' ',
  '*',
  '"',
  '""',
  'W/"',
  '0',
  '-1',
  '1, 2',
  'null',
  '__proto__',
  "'; drop table message; --",
  '\u00e9',
  '\u00ff\u0080',
  '\t',
  'x'.repeat(64),
  'x'.repeat(65),
  'x'.repeat(8000),
];

/** An empty compartment, a user who is not the caller with one credential of each kind, and a group that it is in. */
interface Identities {
  readonly compartmentId: string;
  readonly userId: string;
  readonly groupId: string;
  readonly fingerprint: string;
  readonly apiKeyId: string;
  readonly authTokenId: string;
}

interface Fixture extends Identities {
  readonly queueId: string;
  readonly receipt: string;
  /** A redrive that can be canceled, and that nobody carries out meanwhile. */
  readonly workRequestId: string;
  readonly policyId: string;
  /** Of a pod that does not hear. */
  readonly stompSessionId: string;
  readonly deadLetterId: number;
  readonly consumerGroupId: string;
}

interface Place {
  /** Keys and indices down to the field. */
  readonly path: readonly (string | number)[];
  readonly schema: Schema;
}

/** Gets must not wait, and what they see must stay visible. */
function goodQuery(operation: NamedOperation, without: string): string {
  if (operation.operationId !== 'getMessages') return '';
  return ['timeoutInSeconds', 'visibilityInSeconds']
    .filter((name) => name !== without)
    .map((name) => `${name}=0&`)
    .join('');
}

const asNumber = (schema: Schema, text: string): unknown =>
  schema.type === 'integer' && /^-?\d{1,15}$/.test(text) ? Number(text) : text;

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

describe('hostile input', () => {
  let pods: TestPods;
  let client: Client;
  let document: Document;
  let validator: Validator;
  let operations: NamedOperation[];
  let fixture: Fixture;
  let digest: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    document = (await client.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    validator = new Validator(document);
    operations = operationsOf(document).filter(({ path }) => path.startsWith(API));
    fixture = {
      ...(await makeQueueFixture()),
      ...(await makePolicy()),
      ...(await makeIdentities()),
      stompSessionId: await plantSession(pods),
    };
    digest = await digestOf(pods);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  /** A queue with visible messages, one in flight with its receipt, and nothing that changes by itself. */
  async function makeQueueFixture(): Promise<Omit<Fixture, keyof Identities | 'policyId' | 'stompSessionId'>> {
    const { tenancyId, compartmentId } = pods.credentials;
    // What was let in before would only make every digest slower, and what was written about it every export.
    await pods.test.sql(`
      select set_config('towpath.forgets_audit_events', 'on', true);
      delete from towpath.audit_event;
      with m as (delete from towpath.message), d as (delete from towpath.message_delta),
        t as (delete from towpath.message_total), l as (delete from towpath.work_request_log),
        w as (delete from towpath.work_request), r as (delete from towpath.retry_token),
        g as (delete from towpath.consumer_group)
      delete from towpath.queue`);
    const details = {
      displayName: 'test',
      compartmentId,
      deadLetterQueueDeliveryCount: 0,
      capabilities: [{ type: 'CONSUMER_GROUPS' }],
    };
    const [queue] = await pods.test.sql<{ ocid: string }>(
      'select identifier as ocid from towpath.create_queue($1, $2)',
      [tenancyId, details],
    );
    const queueId = queue!.ocid;
    await client.put(queueId, 'in flight', 'visible', 'visible too', 'dead');
    const [message] = await client.get(queueId, 'limit=1&visibilityInSeconds=43200');
    const [rest] = await pods.test.sql<Pick<Fixture, 'deadLetterId' | 'workRequestId' | 'consumerGroupId'>>(
      `with dead as (
         update towpath.message set dead_letter = true, dead_lettered_at = visible_after
         where id = (select max(id) from towpath.message) returning id
       ),
       redrive as (
         insert into towpath.work_request (
           ocid, tenancy_id, compartment_id, operation_type, queue_id, identifier, run_after, parameters)
         select towpath.new_ocid('queueworkrequest'), q.tenancy_id, q.compartment_id, 'REDRIVE_MESSAGES', 0, q.ocid,
           now() + interval '1 day',
           '{"redrive": {"examined": 0, "matched": 0, "redriven": 0, "skipped": 0, "failed": 0, "isDryRun": false}}'
         from towpath.queue q where q.ocid = $2 returning ocid
       )
       select dead.id as "deadLetterId", redrive.ocid as "workRequestId", g.identifier as "consumerGroupId"
       from dead, redrive, towpath.create_consumer_group(
         $1, jsonb_build_object('displayName', 'group', 'queueId', $2::text)) g`,
      [tenancyId, queueId],
    );
    return { queueId, receipt: message!.receipt, ...rest! };
  }

  /** One policy, and none that an attack has left. */
  async function makePolicy(): Promise<{ readonly policyId: string }> {
    await pods.test.sql('delete from towpath.policy where not is_protected');
    const { compartmentId } = pods.credentials;
    const body = { compartmentId, name: 'fixture', statements: STATEMENTS };
    const { json } = await client.call({ method: 'POST', path: '/policies', body });
    return { policyId: String(json!['id']) };
  }

  /** By SQL, and nothing that an attack has left. */
  async function makeIdentities(): Promise<Identities> {
    const { tenancyId, userId: caller, compartmentId } = pods.credentials;
    for (const statement of [
      `delete from towpath.user_account where tenancy_id = $1 and id <> $2`,
      `delete from towpath.user_group where tenancy_id = $1 and $2 <> '' and name <> 'Administrators'`,
      `delete from towpath.auth_token where tenancy_id = $1 and $2 <> ''`,
    ]) {
      await pods.test.sql(statement, [tenancyId, caller]);
    }
    await pods.test.sql(
      `delete from towpath.compartment where tenancy_id = $1 and parent_id is not null and id <> $2`,
      [tenancyId, compartmentId],
    );
    const [row] = await pods.test.sql<Identities>(
      `select c.id as "compartmentId", u.id as "userId", g.id as "groupId", s.fingerprint, k.id as "apiKeyId",
         t.id as "authTokenId", towpath.add_group_member($1, g.id, u.id)
       from towpath.create_compartment($1, $1, 'attacked') c, towpath.create_user($1, 'attacked') u,
         towpath.create_group($1, 'Attacked') g,
         towpath.create_signing_key($1, u.id, '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff', '-----BEGIN PUBLIC KEY-----') s,
         towpath.create_api_key($1, u.id, 'towpath_', sha256('attacked')) k,
         towpath.create_auth_token($1, u.id, sha256('attacked')) t`,
      [tenancyId],
    );
    return row!;
  }

  async function settled(): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      // All but the one that waits to be canceled.
      const [row] = await pods.test.sql<{ busy: boolean }>(
        `select exists (select from towpath.work_request where time_finished is null and run_after < now() + interval '1 hour' is not false) as busy`,
      );
      if (row?.busy === false) return;
      if (Date.now() > deadline) throw new Error('a work request does not end');
      // As the maintenance does it, which comes round twice a second.
      const [step] = await pods.test.sql<{ status: string | null }>(
        'select towpath.run_work_request_step(null, 1000) as status',
      );
      if ((step?.status ?? null) === null) await new Promise((resolveLater) => setTimeout(resolveLater, 10));
    }
  }

  /** A good body for an operation: its example, about what there is. */
  function goodBody(operation: NamedOperation): Record<string, unknown> | undefined {
    const schema = bodySchemaOf(operation);
    if (schema === undefined) return undefined;
    const { example } = resolve(document, schema);
    const text = JSON.stringify(example, (key, value: unknown) =>
      key === 'compartmentId'
        ? pods.credentials.compartmentId
        : key === 'receipt'
          ? fixture.receipt
          : key === 'queueId'
            ? fixture.queueId
            : key === 'messageId'
              ? fixture.deadLetterId
              : key === 'userId'
                ? pods.credentials.userId
                : key === 'statements'
                  ? STATEMENTS
                  : value,
    );
    return JSON.parse(text) as Record<string, unknown>;
  }

  function pathOf(operation: NamedOperation, changes: Readonly<Record<string, string>> = {}): string {
    const values: Record<string, string> = {
      queueId: fixture.queueId,
      messageReceipt: fixture.receipt,
      workRequestId: fixture.workRequestId,
      consumerGroupId: fixture.consumerGroupId,
      compartmentId: fixture.compartmentId,
      userId: fixture.userId,
      groupId: fixture.groupId,
      fingerprint: fixture.fingerprint,
      apiKeyId: fixture.apiKeyId,
      authTokenId: fixture.authTokenId,
      policyId: fixture.policyId,
      stompSessionId: fixture.stompSessionId,
      ...changes,
    };
    return operation.path.slice(API.length).replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? '');
  }

  /** What is wrong with an answer. `isValid` says what the document makes of the request. */
  async function faultsOf(operation: NamedOperation, answer: Answer, isValid: () => string | null): Promise<string[]> {
    const faults: string[] = [];
    if (answer.status >= 400) {
      if (answer.status >= 500) faults.push('it is our fault');
      const fault = faultOfError(answer);
      if (fault !== null) faults.push(fault);
      // Refused means untouched.
      if ((await digestOf(pods)) !== digest) faults.push('something was changed');
    } else if (!(Number(answer.json?.['clientFailures'] ?? 0) > 0)) {
      // In a batch what is wrong fails alone.
      const problem = isValid();
      if (problem !== null) faults.push(`it was taken, although: ${problem}`);
    }
    const undescribed = validator.problemsOfAnswer(operation, answer);
    if (undescribed !== null) faults.push(`it is not as described: ${undescribed}`);
    return faults;
  }

  /** Sends it and checks what must hold. */
  async function expectSense(
    operation: NamedOperation,
    call: Call,
    what: string,
    isValid: () => string | null,
  ): Promise<Answer> {
    const answer = await client.call({ method: operation.method, ...call });
    const faults = await faultsOf(operation, answer, isValid);
    const { operationId } = operation;
    const told = [operationId, what.slice(0, 200), answer.status, answer.text.slice(0, 300)];
    expect([...told, faults]).toEqual([...told, []]);
    // Whoever was let in may have changed what the next attack is about.
    if (answer.status < 400 && (operation.method !== 'GET' || operationId === 'getMessages')) {
      if (answer.headers['opc-work-request-id'] !== undefined) await settled();
      // Of a work request the digest does not tell, nor of identities and policies.
      const tag = operation.tags?.[0];
      const isQueues = tag !== 'identity' && tag !== 'policies';
      if (isQueues && operationId !== 'cancelWorkRequest' && (await digestOf(pods)) === digest) return answer;
      const remade = isQueues ? makeQueueFixture() : tag === 'identity' ? makeIdentities() : makePolicy();
      fixture = { ...fixture, ...(await remade) };
      digest = await digestOf(pods);
    }
    return answer;
  }

  const withField = (body: unknown, path: readonly (string | number)[], value: unknown): unknown => {
    const [key, ...rest] = path;
    if (key === undefined) return value;
    if (typeof key === 'number') {
      const list = Array.isArray(body) ? [...(body as unknown[])] : [];
      list[key] = withField(list[key], rest, value);
      return list;
    }
    const object = typeof body === 'object' && body !== null && !Array.isArray(body) ? body : {};
    return { ...object, [key]: withField((object as Record<string, unknown>)[key], rest, value) };
  };

  /** Every field of a body, at every depth. */
  function placesOf(schema: Schema, path: readonly (string | number)[] = []): Place[] {
    const found = resolve(document, schema);
    const places: Place[] = path.length === 0 ? [] : [{ path, schema: found }];
    for (const [name, property] of Object.entries(found.properties ?? {})) {
      places.push(...placesOf(property, [...path, name]));
    }
    if (found.items !== undefined) places.push(...placesOf(found.items, [...path, 0]));
    if (typeof found.additionalProperties === 'object') {
      places.push(...placesOf(found.additionalProperties, [...path, 'key']));
    }
    return places;
  }

  /** What the document says of a body: null in a field of the body itself counts as absent, and no body as {}. */
  function problemsOfBody(operation: NamedOperation, text: string): string | null {
    const parsed = JSON.parse(text) as Record<string, unknown>;
    const present = Object.fromEntries(Object.entries(parsed).filter(([, value]) => value !== null));
    return validator.problems(bodySchemaOf(operation)!, present);
  }

  const HOLE = '@@hole@@';
  async function expectSenseOfField(
    operation: NamedOperation,
    path: readonly (string | number)[],
    json: string,
  ): Promise<void> {
    const body = JSON.stringify(withField(goodBody(operation), path, HOLE)).replace(`"${HOLE}"`, () => json);
    const call = { path: `${pathOf(operation)}?${goodQuery(operation, '')}`, body };
    await expectSense(operation, call, `${path.join('.')} = ${json}`, () => problemsOfBody(operation, body));
  }

  it('finds what it attacks', () => {
    expect(operations.length).toBeGreaterThanOrEqual(19);
    const create = operations.find(({ operationId }) => operationId === 'createQueue')!;
    const names = placesOf(bodySchemaOf(create)!).map(({ path }) => path.join('.'));
    expect(names).toEqual(expect.arrayContaining(['displayName', 'capabilities.0.type', 'definedTags.key.key']));
    const put = operations.find(({ operationId }) => operationId === 'putMessages')!;
    expect(placesOf(bodySchemaOf(put)!).map(({ path }) => path.join('.'))).toEqual(
      expect.arrayContaining(['messages', 'messages.0.metadata.customProperties.key', 'messages.0.delayInSeconds']),
    );
  });

  it('takes the good requests that the attacks are made of', async () => {
    for (const operation of operations) {
      const body = goodBody(operation);
      const call = { path: `${pathOf(operation)}?${goodQuery(operation, '')}`, ...(body !== undefined && { body }) };
      const answer = await expectSense(operation, call, 'nothing wrong', () => null);
      expect([operation.operationId, answer.status < 300]).toEqual([operation.operationId, true]);
    }
  });

  it('in every field of every body', async () => {
    for (const operation of operations) {
      const schema = bodySchemaOf(operation);
      if (schema === undefined) continue;
      for (const { path } of placesOf(schema)) {
        for (const json of HOSTILE_JSON) await expectSenseOfField(operation, path, json);
      }
    }
  }, 900_000);

  it('in fields that nobody knows', async () => {
    for (const operation of operations) {
      const schema = bodySchemaOf(operation);
      if (schema === undefined) continue;
      const objects: (readonly (string | number)[])[] = [
        [],
        ...placesOf(schema)
          .filter((place) => place.schema.properties !== undefined)
          .map(({ path }) => path),
      ];
      const names = ['unknown', 'constructor', 'toString'];
      for (const path of objects) {
        for (const [index, json] of HOSTILE_JSON.slice(-12).entries()) {
          await expectSenseOfField(operation, [...path, names[index % names.length]!], json);
        }
      }
    }
  }, 900_000);

  it('where a required field is missing', async () => {
    for (const operation of operations) {
      const schema = bodySchemaOf(operation);
      if (schema === undefined) continue;
      for (const name of resolve(document, schema).required ?? []) {
        const { [name]: _, ...body } = goodBody(operation)!;
        const answer = await expectSense(
          operation,
          { path: pathOf(operation), body },
          `without ${name}`,
          () => 'missing',
        );
        expect(answer.json).toMatchObject({ code: 'MissingParameter' });
      }
      if (operation.requestBody?.required !== true) continue;
      expect((await expectSense(operation, { path: pathOf(operation) }, 'no body', () => 'missing')).status).toBe(400);
    }
  });

  it('in every query parameter', async () => {
    for (const operation of operations) {
      for (const { name, schema } of (operation.parameters ?? []).filter((parameter) => parameter.in === 'query')) {
        const send = (query: string, isValid: () => string | null): Promise<Answer> =>
          expectSense(
            operation,
            bodied(operation, { path: `${pathOf(operation)}?${goodQuery(operation, name)}${query}` }),
            query,
            isValid,
          );
        for (const text of ['', ...HOSTILE_TEXT]) {
          await send(`${name}=${text}`, () => {
            const value = decoded(text);
            return validator.problems(schema, asNumber(schema, name === 'sortOrder' ? value.toUpperCase() : value));
          });
        }
        expect((await send(`${name}=1&${name}=1`, () => 'repeated')).status).toBe(400);
        expect(
          (await send(`${name}=1&%${name.charCodeAt(0).toString(16)}${name.slice(1)}=1`, () => 'repeated')).status,
        ).toBe(400);
        expect((await send(name, () => 'empty')).status).toBe(400);
      }
    }
  }, 900_000);

  function bodied(operation: NamedOperation, call: Call): Call {
    const body = goodBody(operation);
    return body === undefined ? call : { ...call, body };
  }

  it('in every path parameter', async () => {
    for (const operation of operations) {
      for (const { name } of (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')) {
        for (const text of HOSTILE_TEXT) {
          const path = `${pathOf(operation, { [name]: text })}?${goodQuery(operation, '')}`;
          const answer = await expectSense(
            operation,
            bodied(operation, { path }),
            `${name} = ${text}`,
            () => 'nonsense',
          );
          expect(answer.status).toBeGreaterThanOrEqual(400);
        }
      }
    }
  }, 900_000);

  it('in every header', async () => {
    for (const operation of operations) {
      const names = (operation.parameters ?? [])
        .filter((parameter) => parameter.in === 'header')
        .map(({ name }) => name);
      const expectSenseOfHeader = async (name: string, value: string): Promise<void> => {
        const path = `${pathOf(operation)}?${goodQuery(operation, '')}`;
        const call = bodied(operation, { path, headers: { [name]: value } });
        await expectSense(operation, call, `${name}: ${value}`, () => null);
      };
      for (const name of names) for (const value of HOSTILE_HEADERS) await expectSenseOfHeader(name, value);
      // Those that nobody asked for.
      for (const [name, value] of Object.entries({
        accept: 'text/html',
        'accept-version': '2.x',
        'content-encoding': 'gzip',
        range: 'bytes=0-1',
        'x-http-method-override': 'DELETE',
        'x-forwarded-host': 'elsewhere',
      })) {
        await expectSenseOfHeader(name, value);
      }
    }
  }, 900_000);

  describe('tokens', () => {
    const receiptOperations = ['updateMessage', 'deleteMessage', 'updateMessages', 'deleteMessages'];

    async function expectDead(receipt: string): Promise<void> {
      for (const id of receiptOperations) {
        const operation = operations.find(({ operationId }) => operationId === id)!;
        const isBatch = id.endsWith('s');
        const body = isBatch
          ? { entries: [{ receipt, visibilityInSeconds: 0 }] }
          : id === 'updateMessage'
            ? { visibilityInSeconds: 0 }
            : undefined;
        const path = pathOf(operation, { messageReceipt: encodeURIComponent(receipt) });
        const call = { path, ...(body !== undefined && { body }) };
        const answer = await client.call({ method: operation.method, ...call });
        const told = isBatch
          ? { failures: answer.json?.['clientFailures'], fault: null }
          : { failures: [400, 404].includes(answer.status) ? 1 : 0, fault: faultOfError(answer) };
        expect([receipt, id, told]).toEqual([receipt, id, { failures: 1, fault: null }]);
        expect(validator.problemsOfAnswer(operation, answer)).toBeNull();
        expect(await digestOf(pods)).toBe(digest);
      }
    }

    it('refuses forged and foreign receipts, and changes nothing', async () => {
      const { compartmentId } = pods.credentials;
      const other = await client.createQueue({ compartmentId });
      await client.put(other, 'other');
      const [ofOther] = await client.get(other, 'visibilityInSeconds=43200');
      const stranger = await makeStranger(pods);
      await stranger.client.put(stranger.queueId, 'theirs');
      const [ofStranger] = await stranger.client.get(stranger.queueId, 'visibilityInSeconds=43200');
      stranger.client.close();
      const dying = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 1 });
      await client.put(dying, 'dying');
      const [ofDying] = await client.get(dying, 'visibilityInSeconds=0');
      await client.get(dying);
      await untilDead(pods.test, dying, 1);
      const page = String((await client.call({ path: '/queues?limit=1' })).headers['opc-next-page']);
      digest = await digestOf(pods);
      const { receipt } = fixture;
      const bytes = Buffer.from(receipt, 'base64url');
      const flipped = Array.from({ length: bytes.length }, (_, index) => {
        const changed = Buffer.from(bytes);
        changed[index]! ^= 1;
        return changed.toString('base64url');
      });
      const forged = [
        ...flipped,
        ofOther!.receipt,
        ofStranger!.receipt,
        ofDying!.receipt,
        page,
        receipt.slice(0, -1),
        `${receipt}A`,
        `${receipt}=`,
        `${receipt}\n`,
        ` ${receipt}`,
        receipt.toLowerCase(),
        bytes.toString('base64').replace(/[A-Za-z0-9]*$/, (end) => `+/${end}`),
        bytes.toString('hex'),
        Buffer.alloc(48).toString('base64url'),
        Buffer.alloc(48, 0xff).toString('base64url'),
        'A',
        fixture.queueId,
        '0',
      ];
      for (const each of forged) await expectDead(each);
      // The true one is good after all that.
      const good = await client.call({ method: 'DELETE', path: `/queues/${fixture.queueId}/messages/${receipt}` });
      expect(good.status).toBe(204);
      fixture = { ...fixture, ...(await makeQueueFixture()) };
      digest = await digestOf(pods);
    }, 900_000);

    it('refuses page tokens that were changed, or are of another list', async () => {
      const next = async (path: string): Promise<string> => {
        const token = (await client.call({ path })).headers['opc-next-page'];
        expect([path, typeof token]).toEqual([path, 'string']);
        return String(token);
      };
      const { queueId, workRequestId } = fixture;
      await client.createQueue({ compartmentId: pods.credentials.compartmentId });
      for (const channelId of ['a', 'b']) {
        const body = { messages: [{ content: 'x', metadata: { channelId } }] };
        await client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body });
      }
      digest = await digestOf(pods);
      const lists = [
        '/queues?sortBy=timeCreated&sortOrder=ASC&',
        '/queues?sortBy=timeCreated&sortOrder=DESC&',
        '/queues?sortBy=displayName&sortOrder=ASC&',
        '/queues?sortBy=displayName&sortOrder=DESC&',
        '/workRequests?',
        `/queues/${queueId}/channels?`,
      ];
      const tokens = new Map<string, string>();
      for (const path of lists) tokens.set(path, await next(`${path}limit=1`));
      const others = [`/workRequests/${workRequestId}/logs?`, `/workRequests/${workRequestId}/errors?`];
      for (const path of [...lists, ...others]) {
        for (const [owner, token] of tokens) {
          const answer = await client.call({ path: `${path}limit=1&page=${token}` });
          const fault = answer.status === 400 ? faultOfError(answer) : null;
          expect([path, owner, answer.status, fault]).toEqual([path, owner, owner === path ? 200 : 400, null]);
        }
        for (const page of [fixture.receipt, `${tokens.get(lists[0]!)}A`, 'AAAA']) {
          expect((await client.call({ path: `${path}page=${page}` })).status).toBe(400);
        }
      }
      expect(await digestOf(pods)).toBe(digest);
    });
  });

  it('at random, in anything', async () => {
    const json = fc.oneof(
      fc.constantFrom(...HOSTILE_JSON),
      fc.jsonValue({ maxDepth: 5 }).map((value) => JSON.stringify(value)),
      fc.string({ unit: 'binary', maxLength: 300 }).map((value) => JSON.stringify(value)),
      fc.double().map((value) => (Number.isFinite(value) ? String(value) : '1e999')),
      fc.maxSafeInteger().map(String),
      fc.integer({ min: -2, max: 50_000 }).map(String),
    );
    const bodies = operations.filter((operation) => bodySchemaOf(operation) !== undefined);
    const fields = bodies.flatMap((operation) =>
      placesOf(bodySchemaOf(operation)!).map(({ path }) => [operation, path] as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...fields), json, ([operation, path], value) =>
        expectSenseOfField(operation, path, value),
      ),
      { numRuns: 1000 },
    );
    const queries = operations.flatMap((operation) =>
      (operation.parameters ?? [])
        .filter((parameter) => parameter.in === 'query' && parameter.name !== 'timeoutInSeconds')
        .map((parameter) => [operation, parameter] as const),
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 100 }).map((value) => encodeURIComponent(value.toWellFormed())),
      fc.integer({ min: -2, max: 50_000 }).map(String),
      fc.stringMatching(/^(%[0-9A-F]{2}){1,20}$/),
      fc.stringMatching(/^[!-"$-~]{0,50}$/),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...queries), text, async ([operation, { name }], value) => {
        const path = `${pathOf(operation)}?${goodQuery(operation, name)}${name}=${value}`;
        await expectSense(operation, bodied(operation, { path }), `${name}=${value}`, () => null);
      }),
      { numRuns: 500 },
    );
    const paths = operations.flatMap((operation) =>
      (operation.parameters ?? [])
        .filter((parameter) => parameter.in === 'path')
        .map((parameter) => [operation, parameter] as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), text, async ([operation, { name }], value) => {
        // A question mark would end the path, and dots alone name another one.
        const part = value.replace(/[?/#\\]|^\.+$/g, '') || 'x';
        const path = `${pathOf(operation, { [name]: part })}?${goodQuery(operation, '')}`;
        await expectSense(operation, bodied(operation, { path }), `${name} = ${part}`, () => 'nonsense');
      }),
      { numRuns: 500 },
    );
  }, 900_000);

  it('left no trace on the objects of this process', () => {
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});
