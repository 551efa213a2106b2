import path from 'node:path';
import { z } from 'zod';

const number =
  (form: RegExp, kind: string) =>
  (minimum: number, maximum: number): z.ZodType<number, unknown> => {
    const error = `must be ${kind} from ${minimum} to ${maximum}`;
    // Nothing is guessed: for JavaScript a blank is 0 too, and 0x10 is 16.
    return z.preprocess(
      (value) => (typeof value === 'string' && form.test(value) ? Number(value) : value),
      z.number({ error }).min(minimum, { error }).max(maximum, { error }),
    );
  };
const integer = number(/^-?\d{1,15}$/, 'an integer');
const decimal = number(/^-?\d{1,15}(\.\d{1,15})?$/, 'a number');
const port = integer(0, 65535);
const flag = z.enum(['0', '1'], { error: 'must be 1 or 0' }).default('0');
/** Public keys are fetched from there: over https, or from this machine. */
export const isTrustworthyUrl = (url: string): boolean =>
  URL.canParse(url) &&
  /^(?:https:\/\/[^?#]+|http:\/\/(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?(?:\/[^?#]*)?)$/.test(url);
/** Exactly as browsers write it: scheme, host, and a port that is not the scheme's. */
const isOrigin = (text: string): boolean =>
  /^https?:\/\//.test(text) && URL.canParse(text) && new URL(text).origin === text;
const MODES = ['development', 'production'] as const;
const CLIENT_CERTIFICATES = ['required', 'optional'] as const;
const SEALING = ['on', 'off', 'required'] as const;
const MERGING = ['on', 'off'] as const;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/**
 * Everything that the environment may say, read once at the start. Each variable's description is what
 * the README's table says, its default what holds when the variable is absent or empty.
 */
const environmentSchema = z.object({
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'must look like postgres://user:password@host:5432/database' })
    .optional(),
  TOWPATH_DATA_DIR: z.string().default('.towpath'),
  TOWPATH_HOST: z.string().default('127.0.0.1'),
  TOWPATH_PORT: port.default(8080),
  TOWPATH_STOMP_PORT: port.default(61613),
  TOWPATH_STOMP_STRICT: flag,
  TOWPATH_STOMP_MAX_CONNECTIONS: integer(1, 1000000).default(16384),
  TOWPATH_STOMP_MAX_CONNECTIONS_PER_USER: integer(1, 1000000).default(10000),
  TOWPATH_STOMP_LOGIN_SECONDS: decimal(0.1, 300).default(10),
  TOWPATH_STOMP_IDLE_SECONDS: decimal(0.1, 86400).default(600),
  TOWPATH_STOMP_HEART_BEAT_SECONDS: decimal(0.1, 3600).default(10),
  TOWPATH_STOMP_LEASE_SECONDS: decimal(1, 604800).default(3600),
  TOWPATH_PUBLIC_URL: z
    .url({ protocol: /^https?$/, error: 'must look like https://queues.example.com' })
    .transform((url) => url.replace(/\/+$/, ''))
    .optional(),
  TOWPATH_MODE: z.enum(MODES, { error: `must be one of ${MODES.join(', ')}` }).default('development'),
  TOWPATH_ALLOW_EMBEDDED: flag,
  TOWPATH_TLS_CERT_FILE: z.string().optional(),
  TOWPATH_TLS_KEY_FILE: z.string().optional(),
  TOWPATH_TLS_CLIENT_CA_FILE: z.string().optional(),
  TOWPATH_TLS_CLIENT_CERTIFICATES: z
    .enum(CLIENT_CERTIFICATES, { error: `must be one of ${CLIENT_CERTIFICATES.join(', ')}` })
    .default('required'),
  TOWPATH_TLS_SELF_SIGNED: flag,
  TOWPATH_BEHIND_PROXY: integer(0, 16).default(0),
  TOWPATH_CORS_ORIGINS: z
    .string()
    .transform((list) => list.split(',').map((origin) => origin.trim()))
    .refine((origins) => origins.every(isOrigin), {
      error: 'must be origins with commas between them, such as https://console.example.com,http://localhost:3000',
    })
    .optional(),
  TOWPATH_OIDC_ISSUER: z
    .string()
    .refine(isTrustworthyUrl, { error: 'must look like https://login.example.com, exactly as tokens have it in iss' })
    .optional(),
  TOWPATH_OIDC_AUDIENCE: z.string().optional(),
  TOWPATH_OIDC_TENANCY: z.string().default('towpath'),
  TOWPATH_OIDC_USER_CLAIM: z.string().default('sub'),
  TOWPATH_OIDC_GROUPS_CLAIM: z.string().optional(),
  TOWPATH_MAX_CONNECTIONS: integer(1, 1000000).default(16384),
  TOWPATH_LOG_LEVEL: z.enum(LOG_LEVELS, { error: `must be one of ${LOG_LEVELS.join(', ')}` }).default('info'),
  TOWPATH_POOL_SIZE: integer(2, 200).default(10),
  TOWPATH_DATABASE_WAIT_SECONDS: decimal(0.1, 30).default(3),
  TOWPATH_MAX_MESSAGE_BYTES: integer(1, 524288).default(262144),
  TOWPATH_MAX_REQUEST_BYTES: integer(1024, 16777216).default(524288),
  TOWPATH_BODY_MEMORY_BYTES: integer(16777216, 68719476736).default(134217728),
  TOWPATH_BODY_MEMORY_WAIT_SECONDS: decimal(0.1, 30).default(10),
  TOWPATH_MERGING: z.enum(MERGING, { error: `must be one of ${MERGING.join(', ')}` }).default('on'),
  TOWPATH_MAX_WAITING_REQUESTS: integer(1, 1000000).default(5000),
  TOWPATH_MAX_WAITING_BYTES: integer(1024, 68719476736).default(33554432),
  TOWPATH_MAX_CHANNELS: integer(1, 10000).default(256),
  TOWPATH_MAX_IN_FLIGHT: integer(1, 1000000).default(100000),
  TOWPATH_MAX_QUEUE_BYTES: integer(1, 100000000000000).optional(),
  TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: integer(1, 1000000).optional(),
  TOWPATH_MAX_QUEUE_BYTES_PER_SECOND: integer(1, 10000000000).optional(),
  TOWPATH_MAX_TENANCY_QUEUES: integer(1, 1000000).optional(),
  TOWPATH_MAX_TENANCY_BYTES: integer(1, 100000000000000).optional(),
  TOWPATH_MAX_TENANCY_REQUESTS_PER_SECOND: integer(1, 10000000).optional(),
  TOWPATH_MAX_TENANCY_BYTES_PER_SECOND: integer(1, 100000000000).optional(),
  TOWPATH_MAX_TENANCY_CONNECTIONS: integer(1, 1000000).optional(),
  TOWPATH_MAX_USER_CONNECTIONS: integer(1, 1000000).optional(),
  TOWPATH_AUDIT_RETENTION_DAYS: integer(1, 36500).default(90),
  TOWPATH_SEALING: z.enum(SEALING, { error: `must be one of ${SEALING.join(', ')}` }).default('on'),
  TOWPATH_MASTER_KEY: z.string().optional(),
  TOWPATH_MASTER_KEY_FILE: z.string().optional(),
  TOWPATH_MASTER_KEY_DIRECTORY: z.string().optional(),
  TOWPATH_MASTER_KEY_ID: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/, { error: 'must be the name of a file in the directory, without .key' })
    .optional(),
  TOWPATH_DATA_KEY_DAYS: decimal(0.0001, 36500).default(30),
  TOWPATH_DRAIN_SECONDS: decimal(0, 300).default(0),
  TOWPATH_SHUTDOWN_SECONDS: decimal(1, 300).default(20),
});

/** The configuration of one pod, frozen. Durations are milliseconds, sizes bytes. */
export interface Configuration {
  /** Null: the embedded server under `dataDirectory` is started. */
  readonly databaseUrl: string | null;
  readonly dataDirectory: string;
  readonly host: string;
  readonly port: number;
  readonly stompPort: number;
  /** STOMP refuses what OCI Queue refuses: transactions, custom headers, automatic acknowledgement, queues by name. */
  readonly stompStrict: boolean;
  /** Over TCP and WebSocket together. */
  readonly stompMaxConnections: number;
  readonly stompMaxConnectionsPerUser: number;
  /** How long a connection may take until its CONNECT frame was read. */
  readonly stompLoginMs: number;
  /** How long a connection without heart-beats and subscriptions may send nothing. */
  readonly stompIdleMs: number;
  /** How often heart-beats are sent, and wanted, at most; clients may ask for fewer. */
  readonly stompHeartBeatMs: number;
  /** How long the visibility of a delivery is prolonged where its subscription asks for that. */
  readonly stompLeaseMs: number;
  /** What clients reach this service under, without a slash at the end; null: made of host and port once it listens. */
  readonly publicUrl: string | null;
  /** In production the pod refuses to start with what is for trying out only (start-checks.ts). */
  readonly mode: 'development' | 'production';
  /** The embedded server is meant, in production too. */
  readonly allowEmbedded: boolean;
  /** The chain of the server's certificate, PEM; null: no TLS, or a self-made one. */
  readonly tlsCertFile: string | null;
  readonly tlsKeyFile: string | null;
  /** Who must have issued certificates of clients, PEM; null: clients are not asked for any. */
  readonly tlsClientCaFile: string | null;
  /** Whether a client without a certificate is let in; one with a wrong one never is. */
  readonly tlsClientCertificates: 'required' | 'optional';
  /** A certificate is made in `dataDirectory`. */
  readonly tlsSelfSigned: boolean;
  /** How many proxies stand before the pod, whose X-Forwarded-For is believed; 0: none. */
  readonly proxyHops: number;
  /** Web pages of these origins may call the service from a browser. */
  readonly corsOrigins: readonly string[];
  /** Whose bearer tokens are taken, besides API keys; null: nobody's. */
  readonly oidcIssuer: string | null;
  /** What tokens must be made for. */
  readonly oidcAudience: string | null;
  /** The name of the tenancy to which the users of the issuer belong. */
  readonly oidcTenancy: string;
  /** The claim that has the name of the user. */
  readonly oidcUserClaim: string;
  /** The claim that has the names of the user's groups; null: they are those of the user in the database, who must exist. */
  readonly oidcGroupsClaim: string | null;
  readonly maxConnections: number;
  readonly logLevel: string;
  readonly poolSize: number;
  /** How long a request may wait for a database connection before it gets 503. */
  readonly databaseWaitMs: number;
  /** One message, content and properties together, without the capability LARGE_MESSAGES. */
  readonly maxMessageBytes: number;
  /** All messages of one put together. */
  readonly maxRequestBytes: number;
  /** What large request bodies and answers that are under way may take together. */
  readonly bodyMemoryBytes: number;
  /** How long a request may wait for its share of that before it gets 503. */
  readonly bodyMemoryWaitMs: number;
  /** False: each put, get, update and delete is a statement of its own. */
  readonly merging: boolean;
  /** Requests of one kind and queue that may wait for a statement together. */
  readonly maxWaitingRequests: number;
  /** What such requests may hold. */
  readonly maxWaitingBytes: number;
  readonly maxChannels: number;
  readonly maxInFlight: number;
  /** What a queue may store, all consumer groups and dead letters together; null: any amount. */
  readonly maxQueueBytes: number | null;
  /** Of each API (put, get, update, delete) and queue, on all pods together; null: any number. */
  readonly maxQueueRequestsPerSecond: number | null;
  /** In and out of a queue, each for itself, on all pods together; null: any amount. */
  readonly maxQueueBytesPerSecond: number | null;
  /** Of a tenancy, those that are being deleted aside; null: any number. */
  readonly maxTenancyQueues: number | null;
  /** What all queues of a tenancy may store together; null: any amount. */
  readonly maxTenancyBytes: number | null;
  /** Of a tenancy, all operations together, on all pods together; null: any number. */
  readonly maxTenancyRequestsPerSecond: number | null;
  /** In and out of all queues of a tenancy, each for itself, on all pods together; null: any amount. */
  readonly maxTenancyBytesPerSecond: number | null;
  /** Connections on which a tenancy makes requests, on all pods together; null: any number. */
  readonly maxTenancyConnections: number | null;
  /** The same of one user. */
  readonly maxUserConnections: number | null;
  /** How long audit events are kept. */
  readonly auditRetentionDays: number;
  /** `off`: what is put is not sealed. `required`: moreover, what is not sealed is not delivered. */
  readonly sealing: (typeof SEALING)[number];
  /** In base64; null: not given so. */
  readonly masterKey: string | null;
  readonly masterKeyFile: string | null;
  /** Of the operator's master keys; null: there is none. */
  readonly masterKeyDirectory: string | null;
  /** The one in the directory that is for queues that name none; null: it is given otherwise. */
  readonly masterKeyId: string | null;
  /** A data key that is older is replaced. */
  readonly dataKeyDays: number;
  /** How long a stop may take before what is left is cut off. */
  readonly shutdownMs: number;
  /** How long a stopping pod still takes requests, so that load balancers see that it is not ready. Beside `shutdownMs`. */
  readonly drainMs: number;
  /** Started by `npm start` (or another npm script), so that npm's shell is the parent. */
  readonly isRunByNpm: boolean;
}

export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** Reads the configuration from `environment`. Throws one ConfigurationError that lists every bad value. */
export function readConfiguration(environment: NodeJS.ProcessEnv = process.env): Configuration {
  // An empty variable counts as absent: compose files and shells make them easily.
  const present = Object.fromEntries(
    Object.entries(environment).filter(([name, value]) => value !== '' && !isServiceLink(name, value)),
  );
  const parsed = environmentSchema.safeParse(present);
  const known = new Set(Object.keys(environmentSchema.shape));
  const unknown = Object.keys(present).filter((name) => name.startsWith('TOWPATH_') && !known.has(name));
  const problems = [
    ...(parsed.error?.issues ?? []).map((issue) => {
      const name = String(issue.path[0]);
      // A URL may hold a password: its value is never repeated. Nor is a key's.
      const value =
        name.endsWith('_URL') || name === 'TOWPATH_MASTER_KEY' ? '' : ` (it is ${JSON.stringify(present[name])})`;
      return `${name}: ${issue.message}${value}`;
    }),
    ...unknown.map((name) => `${name}: there is no such setting; the README lists them`),
  ];
  if (!parsed.success || problems.length > 0) {
    throw new ConfigurationError(`The environment has settings that cannot be used:\n  ${problems.join('\n  ')}`);
  }
  const values = parsed.data;
  return Object.freeze({
    databaseUrl: values.DATABASE_URL ?? null,
    dataDirectory: path.resolve(values.TOWPATH_DATA_DIR),
    host: values.TOWPATH_HOST,
    port: values.TOWPATH_PORT,
    stompPort: values.TOWPATH_STOMP_PORT,
    stompStrict: values.TOWPATH_STOMP_STRICT === '1',
    stompMaxConnections: values.TOWPATH_STOMP_MAX_CONNECTIONS,
    stompMaxConnectionsPerUser: values.TOWPATH_STOMP_MAX_CONNECTIONS_PER_USER,
    stompLoginMs: values.TOWPATH_STOMP_LOGIN_SECONDS * 1000,
    stompIdleMs: values.TOWPATH_STOMP_IDLE_SECONDS * 1000,
    stompHeartBeatMs: values.TOWPATH_STOMP_HEART_BEAT_SECONDS * 1000,
    stompLeaseMs: values.TOWPATH_STOMP_LEASE_SECONDS * 1000,
    publicUrl: values.TOWPATH_PUBLIC_URL ?? null,
    mode: values.TOWPATH_MODE,
    allowEmbedded: values.TOWPATH_ALLOW_EMBEDDED === '1',
    tlsCertFile: pathOf(values.TOWPATH_TLS_CERT_FILE),
    tlsKeyFile: pathOf(values.TOWPATH_TLS_KEY_FILE),
    tlsClientCaFile: pathOf(values.TOWPATH_TLS_CLIENT_CA_FILE),
    tlsClientCertificates: values.TOWPATH_TLS_CLIENT_CERTIFICATES,
    tlsSelfSigned: values.TOWPATH_TLS_SELF_SIGNED === '1',
    proxyHops: values.TOWPATH_BEHIND_PROXY,
    corsOrigins: values.TOWPATH_CORS_ORIGINS ?? [],
    oidcIssuer: values.TOWPATH_OIDC_ISSUER ?? null,
    oidcAudience: values.TOWPATH_OIDC_AUDIENCE ?? null,
    oidcTenancy: values.TOWPATH_OIDC_TENANCY,
    oidcUserClaim: values.TOWPATH_OIDC_USER_CLAIM,
    oidcGroupsClaim: values.TOWPATH_OIDC_GROUPS_CLAIM ?? null,
    maxConnections: values.TOWPATH_MAX_CONNECTIONS,
    logLevel: values.TOWPATH_LOG_LEVEL,
    poolSize: values.TOWPATH_POOL_SIZE,
    databaseWaitMs: values.TOWPATH_DATABASE_WAIT_SECONDS * 1000,
    maxMessageBytes: values.TOWPATH_MAX_MESSAGE_BYTES,
    maxRequestBytes: values.TOWPATH_MAX_REQUEST_BYTES,
    bodyMemoryBytes: values.TOWPATH_BODY_MEMORY_BYTES,
    bodyMemoryWaitMs: values.TOWPATH_BODY_MEMORY_WAIT_SECONDS * 1000,
    merging: values.TOWPATH_MERGING === 'on',
    maxWaitingRequests: values.TOWPATH_MAX_WAITING_REQUESTS,
    maxWaitingBytes: values.TOWPATH_MAX_WAITING_BYTES,
    maxChannels: values.TOWPATH_MAX_CHANNELS,
    maxInFlight: values.TOWPATH_MAX_IN_FLIGHT,
    maxQueueBytes: values.TOWPATH_MAX_QUEUE_BYTES ?? null,
    maxQueueRequestsPerSecond: values.TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND ?? null,
    maxQueueBytesPerSecond: values.TOWPATH_MAX_QUEUE_BYTES_PER_SECOND ?? null,
    maxTenancyQueues: values.TOWPATH_MAX_TENANCY_QUEUES ?? null,
    maxTenancyBytes: values.TOWPATH_MAX_TENANCY_BYTES ?? null,
    maxTenancyRequestsPerSecond: values.TOWPATH_MAX_TENANCY_REQUESTS_PER_SECOND ?? null,
    maxTenancyBytesPerSecond: values.TOWPATH_MAX_TENANCY_BYTES_PER_SECOND ?? null,
    maxTenancyConnections: values.TOWPATH_MAX_TENANCY_CONNECTIONS ?? null,
    maxUserConnections: values.TOWPATH_MAX_USER_CONNECTIONS ?? null,
    auditRetentionDays: values.TOWPATH_AUDIT_RETENTION_DAYS,
    sealing: values.TOWPATH_SEALING,
    masterKey: values.TOWPATH_MASTER_KEY ?? null,
    masterKeyFile: pathOf(values.TOWPATH_MASTER_KEY_FILE),
    masterKeyDirectory: pathOf(values.TOWPATH_MASTER_KEY_DIRECTORY),
    masterKeyId: values.TOWPATH_MASTER_KEY_ID ?? null,
    dataKeyDays: values.TOWPATH_DATA_KEY_DAYS,
    shutdownMs: values.TOWPATH_SHUTDOWN_SECONDS * 1000,
    drainMs: values.TOWPATH_DRAIN_SECONDS * 1000,
    isRunByNpm: present['npm_lifecycle_event'] !== undefined,
  });
}

function pathOf(file: string | undefined): string | null {
  return file === undefined ? null : path.resolve(file);
}

/** Whether the pod itself speaks TLS. */
export function speaksTls(configuration: Pick<Configuration, 'tlsCertFile' | 'tlsSelfSigned'>): boolean {
  return configuration.tlsCertFile !== null || configuration.tlsSelfSigned;
}

/**
 * What Kubernetes puts into the environment of a pod for services named towpath, or towpath-stomp: one of them has the
 * name of a setting of ours.
 */
function isServiceLink(name: string, value: string | undefined): boolean {
  return (
    /^TOWPATH_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP)(?:_(?:PROTO|PORT|ADDR))?)$/.test(
      name,
    ) ||
    (/^TOWPATH_(?:\w+_)?PORT$/.test(name) && /^(?:tcp|udp):\/\//.test(value ?? ''))
  );
}

/** The injection token of the configuration. */
export const CONFIGURATION = Symbol('configuration');
