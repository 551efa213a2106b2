import {
  bodySchemaOf,
  operationsOf,
  resolve,
  Validator,
  type Document,
  type NamedOperation,
} from '../../openapi/document.js';
import { startTestPods, type TestPods } from '../../support/pod.js';
import { API, Client, digestOf, faultOfError, type Answer, type Call } from '../support.js';
import { makeFixture, makeIdentities, makePolicy, makeQueue, settle, STATEMENTS, type Fixture } from './fixture.js';
import { withField, type Path } from './places.js';

const HOLE = '@@hole@@';

/** A pod, what there is on it to be attacked, and good requests about that. */
export class Attack {
  readonly operations: readonly NamedOperation[];
  readonly validator: Validator;

  private constructor(
    readonly pods: TestPods,
    readonly client: Client,
    readonly document: Document,
    /** Changes whenever an attack was let in. */
    public fixture: Fixture,
    /** Of the database as it must stay while nothing is let in. */
    public digest: string,
  ) {
    this.operations = operationsOf(document).filter(({ path }) => path.startsWith(API));
    this.validator = new Validator(document);
  }

  static async begin(): Promise<Attack> {
    const pods = await startTestPods();
    const client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    const document = (await client.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    const fixture = await makeFixture(pods, client);
    return new Attack(pods, client, document, fixture, await digestOf(pods));
  }

  async end(): Promise<void> {
    this.client.close();
    await this.pods.stop();
  }

  operation(id: string): NamedOperation {
    return this.operations.find(({ operationId }) => operationId === id)!;
  }

  /** Makes the queue anew, and nothing else of the queues' is left. */
  async renewQueue(): Promise<void> {
    this.fixture = { ...this.fixture, ...(await makeQueue(this.pods, this.client)) };
    await this.renewDigest();
  }

  /** After a change that was meant. */
  async renewDigest(): Promise<void> {
    this.digest = await digestOf(this.pods);
  }

  /** A good body for an operation: its example, about what there is. */
  goodBody(operation: NamedOperation): Record<string, unknown> | undefined {
    const schema = bodySchemaOf(operation);
    if (schema === undefined) return undefined;
    const { example } = resolve(this.document, schema);
    const { fixture } = this;
    const { compartmentId, userId } = this.pods.credentials;
    const values: Readonly<Record<string, unknown>> = {
      compartmentId,
      receipt: fixture.receipt,
      queueId: fixture.queueId,
      messageId: fixture.deadLetterId,
      userId,
      statements: STATEMENTS,
    };
    const text = JSON.stringify(example, (key, value: unknown) => (Object.hasOwn(values, key) ? values[key] : value));
    return JSON.parse(text) as Record<string, unknown>;
  }

  pathOf(operation: NamedOperation, changes: Readonly<Record<string, string>> = {}): string {
    const { receipt, deadLetterId: _, ...ids } = this.fixture;
    const values: Record<string, string> = { ...ids, messageReceipt: receipt, ...changes };
    return operation.path.slice(API.length).replace(/\{(\w+)\}/g, (_match, name: string) => values[name] ?? '');
  }

  /** The call with a good body, where the operation has one. */
  bodied(operation: NamedOperation, call: Call): Call {
    const body = this.goodBody(operation);
    return body === undefined ? call : { ...call, body };
  }

  /** What is wrong with an answer. `isValid` says what the document makes of the request; null: nothing wrong. */
  async faultsOf(operation: NamedOperation, answer: Answer, isValid: () => string | null): Promise<string[]> {
    const faults: string[] = [];
    if (answer.status >= 400) {
      if (answer.status >= 500) faults.push('it is our fault');
      const fault = faultOfError(answer);
      if (fault !== null) faults.push(fault);
      // Refused means untouched.
      if ((await digestOf(this.pods)) !== this.digest) faults.push('something was changed');
    } else if (!(Number(answer.json?.['clientFailures'] ?? 0) > 0)) {
      // In a batch what is wrong fails alone.
      const problem = isValid();
      if (problem !== null) faults.push(`it was taken, although: ${problem}`);
    }
    const undescribed = this.validator.problemsOfAnswer(operation, answer);
    if (undescribed !== null) faults.push(`it is not as described: ${undescribed}`);
    return faults;
  }

  /** Whoever was let in may have changed what the next attack is about. */
  async renewAfter({ operationId, method, tags }: NamedOperation, answer: Answer): Promise<void> {
    if (answer.status >= 400 || (method === 'GET' && operationId !== 'getMessages')) return;
    const { pods, client } = this;
    if (answer.headers['opc-work-request-id'] !== undefined) await settle(pods);
    // Of a work request the digest does not tell, nor of identities and policies.
    const tag = tags?.[0];
    const isQueues = tag !== 'identity' && tag !== 'policies';
    if (isQueues && operationId !== 'cancelWorkRequest' && (await digestOf(pods)) === this.digest) return;
    const remade = isQueues
      ? makeQueue(pods, client)
      : tag === 'identity'
        ? makeIdentities(pods)
        : makePolicy(pods, client);
    this.fixture = { ...this.fixture, ...(await remade) };
    await this.renewDigest();
  }

  /** What the document says of a body: null in a field of the body itself counts as absent, and no body as {}. */
  problemsOfBody(operation: NamedOperation, text: string): string | null {
    const parsed = JSON.parse(text) as Record<string, unknown>;
    const present = Object.fromEntries(Object.entries(parsed).filter(([, value]) => value !== null));
    return this.validator.problems(bodySchemaOf(operation)!, present);
  }
}

/** Sends it and checks what must hold. `isValid` says what the document makes of the request; null: nothing wrong. */
export async function expectSense(
  attack: Attack,
  operation: NamedOperation,
  call: Call,
  what: string,
  isValid: () => string | null,
): Promise<Answer> {
  const answer = await attack.client.call({ method: operation.method, ...call });
  const faults = await attack.faultsOf(operation, answer, isValid);
  const told = [operation.operationId, what.slice(0, 200), answer.status, answer.text.slice(0, 300)];
  expect([...told, faults]).toEqual([...told, []]);
  await attack.renewAfter(operation, answer);
  return answer;
}

/** The same with a good body but for one field. */
export async function expectSenseOfField(
  attack: Attack,
  operation: NamedOperation,
  path: Path,
  json: string,
): Promise<void> {
  const good = attack.goodBody(operation);
  const body = JSON.stringify(withField(good, path, HOLE)).replace(`"${HOLE}"`, () => json);
  const call = { path: `${attack.pathOf(operation)}?${goodQuery(operation)}`, body };
  const what = `${path.join('.')} = ${json}`;
  await expectSense(attack, operation, call, what, () => attack.problemsOfBody(operation, body));
}

/** Gets must not wait, and what they see must stay visible. */
export function goodQuery(operation: NamedOperation, without = ''): string {
  if (operation.operationId !== 'getMessages') return '';
  return ['timeoutInSeconds', 'visibilityInSeconds']
    .filter((name) => name !== without)
    .map((name) => `${name}=0&`)
    .join('');
}
