import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { makeUser, type User } from '../identity/user.js';
import type { TestPods } from '../support/pod.js';

export const API = '/20210201';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined where there is none or it is no JSON. */
  readonly json: Record<string, unknown> | undefined;
}

export interface Call {
  readonly method?: string;
  /** After the API's version, or with `root` the whole target; goes on the wire as it stands. */
  readonly path: string;
  readonly root?: boolean;
  /** Objects go as JSON, text and bytes as they are. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Null: without credentials. */
  readonly apiKey?: string | null;
}

/** Node's own HTTP client with an API key: nothing between the test and the wire that would repair a request. */
export class Client {
  private readonly agent = new Agent({ keepAlive: true });

  constructor(
    readonly url: string,
    readonly apiKey: string,
  ) {}

  call({ method = 'GET', path, root = false, body, headers = {}, apiKey = this.apiKey }: Call): Promise<Answer> {
    const { hostname, port } = new URL(this.url);
    const bytes =
      body === undefined
        ? undefined
        : typeof body === 'string' || Buffer.isBuffer(body)
          ? Buffer.from(body as string)
          : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        {
          agent: this.agent,
          hostname,
          port,
          method,
          path: root ? path : API + path,
          headers: {
            ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }),
            ...(bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }),
            ...(headers as Record<string, string | string[]>),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) });
          });
        },
      );
      request.on('error', reject);
      request.end(bytes);
    });
  }

  /** Creates a queue and returns its OCID. */
  async createQueue(details: Record<string, unknown>): Promise<string> {
    const created = await this.call({ method: 'POST', path: '/queues', body: { displayName: 'test', ...details } });
    if (created.status !== 202) throw new Error(`createQueue: ${created.status} ${created.text}`);
    const found = await this.call({ path: `/workRequests/${String(created.headers['opc-work-request-id'])}` });
    const [resource] = (found.json as { resources: { identifier: string }[] }).resources;
    if (resource === undefined) throw new Error('no resource');
    return resource.identifier;
  }

  async put(queueId: string, ...contents: string[]): Promise<void> {
    const body = { messages: contents.map((content) => ({ content })) };
    const answer = await this.call({ method: 'POST', path: `/queues/${queueId}/messages`, body });
    if (answer.status !== 200) throw new Error(`putMessages: ${answer.status} ${answer.text}`);
  }

  /** Gets messages without waiting. */
  async get(queueId: string, query = 'limit=20'): Promise<{ content: string; receipt: string; id: number }[]> {
    const answer = await this.call({ path: `/queues/${queueId}/messages?timeoutInSeconds=0&${query}` });
    if (answer.status !== 200) throw new Error(`getMessages: ${answer.status} ${answer.text}`);
    return (answer.json as { messages: { content: string; receipt: string; id: number }[] }).messages;
  }

  close(): void {
    this.agent.destroy();
  }
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** Expects the contract's error: status, code, body of exactly code and message, request id, JSON. */
export function expectError(answer: Answer, status: number, code: string, message?: RegExp): void {
  expect({ status: answer.status, code: answer.json?.['code'] ?? answer.text }).toEqual({ status, code });
  expectErrorShape(answer);
  if (message !== undefined) expect(answer.json?.['message']).toMatch(message);
}

/** What every 4xx and 5xx has, whoever made it. */
export function expectErrorShape(answer: Answer): void {
  expect([answer.text, faultOfError(answer)]).toEqual([answer.text, null]);
}

const INTERNALS =
  /\bat .+:\d+:\d+|node_modules|towpath\.|\bselect\b|\binsert\b|plpgsql|SQLSTATE|ZodError|FST_|pg_|stack/i;

/** What of an error is not as the contract has it; null: nothing. */
export function faultOfError({ json, headers }: Answer): string | null {
  const { code, message, ...rest } = json ?? {};
  if (typeof code !== 'string' || !/^[A-Za-z]+$/.test(code)) return 'it has no code';
  if (typeof message !== 'string' || message === '') return 'it has no message';
  if (Object.keys(rest).length > 0) return 'it has more than code and message';
  if (message.length > 3000) return 'the message is too long';
  if (INTERNALS.test(message)) return 'the message shows internals';
  if (headers['content-type']?.startsWith('application/json') !== true) return 'it is not called JSON';
  if (!/^[\x21-\x7e]{1,128}$/.test(String(headers['opc-request-id'] ?? ''))) return 'it has no opc-request-id';
  return null;
}

/** Sends bytes on a connection of their own and returns what comes back until the other side closes it. */
export function sendBytes(url: string, ...chunks: (string | Buffer)[]): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(Number(port), hostname, () => {
      for (const chunk of chunks) socket.write(chunk);
    });
    socket.setEncoding('latin1');
    socket.on('data', (data: string) => {
      text += data;
    });
    // A server that has answered may close while we still send.
    socket.on('error', (error) => (text === '' ? reject(error) : resolve(text)));
    socket.on('close', () => resolve(text));
    socket.setTimeout(20_000, () => {
      socket.destroy(new Error(`nothing more came after: ${text}`));
    });
  });
}

/** Reads one HTTP response out of what came back. */
export function parseAnswer(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const body = rest.join('\r\n\r\n');
  return {
    status: Number(statusLine.split(' ')[1]),
    headers: Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    ),
    text: body,
    json: parse(body),
  };
}

/** A user of another tenancy on the same service, with a client of theirs and a queue. */
export async function makeStranger(
  pods: TestPods,
): Promise<{ readonly user: User; readonly client: Client; readonly queueId: string }> {
  const user = await makeUser(new IdentityFunctions(pods.test.database));
  const client = new Client(pods.pods[0]!.url, user.apiKey);
  return { user, client, queueId: await client.createQueue({ compartmentId: user.owner.tenancyId }) };
}

/** Changes with anything that a request may change of queues, messages and identities. */
export async function digestOf(pods: TestPods): Promise<string> {
  const [row] = await pods.test.prepared<{ digest: string }>(
    'digest',
    `select md5(concat(
      (select string_agg(q::text, '|' order by q.id) from towpath.queue q),
      (select string_agg(g::text, '|' order by g.queue_id, g.id) from towpath.consumer_group g),
      (select string_agg(m::text, '|' order by m.queue_id, m.consumer_group_id, m.id) from towpath.message m),
      (select count(*) from towpath.work_request),
      (select string_agg(p::text, '|' order by p.id) from towpath.policy p),
      (select string_agg(c::text, '|' order by c.id) from towpath.compartment c),
      (select string_agg(u::text, '|' order by u.id) from towpath.user_account u),
      (select string_agg(g::text, '|' order by g.id) from towpath.user_group g),
      (select string_agg(m::text, '|' order by m.group_id, m.user_id) from towpath.user_group_member m),
      -- When they were last used is written behind the request.
      (select string_agg(k.fingerprint, '|' order by k.user_id, k.fingerprint) from towpath.signing_key k),
      (select string_agg(k.id, '|' order by k.id) from towpath.api_key k),
      (select string_agg(t.id, '|' order by t.id) from towpath.auth_token t)
    )) as digest`,
  );
  return row!.digest;
}
