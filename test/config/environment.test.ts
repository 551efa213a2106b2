import path from 'node:path';
import { ConfigurationError, readConfiguration } from '../../src/config/environment.js';

const problemsOf = (environment: Record<string, string>): string => {
  try {
    readConfiguration(environment);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message;
    throw error;
  }
  return '';
};

describe('the environment', () => {
  it('has defaults for everything', () => {
    expect(readConfiguration({})).toEqual({
      databaseUrl: null,
      dataDirectory: path.resolve('.towpath'),
      host: '127.0.0.1',
      port: 8080,
      stompPort: 61613,
      stompStrict: false,
      stompMaxConnections: 16_384,
      stompMaxConnectionsPerUser: 10_000,
      stompLoginMs: 10_000,
      stompIdleMs: 600_000,
      stompHeartBeatMs: 10_000,
      stompLeaseMs: 3_600_000,
      publicUrl: null,
      mode: 'development',
      allowEmbedded: false,
      tlsCertFile: null,
      tlsKeyFile: null,
      tlsClientCaFile: null,
      tlsClientCertificates: 'required',
      tlsSelfSigned: false,
      proxyHops: 0,
      corsOrigins: [],
      oidcIssuer: null,
      oidcAudience: null,
      oidcTenancy: 'towpath',
      oidcUserClaim: 'sub',
      oidcGroupsClaim: null,
      maxConnections: 16_384,
      logLevel: 'info',
      poolSize: 10,
      databaseWaitMs: 3000,
      maxMessageBytes: 262_144,
      maxRequestBytes: 524_288,
      bodyMemoryBytes: 134_217_728,
      bodyMemoryWaitMs: 10_000,
      merging: true,
      maxWaitingRequests: 5000,
      maxWaitingBytes: 33_554_432,
      maxChannels: 256,
      maxInFlight: 100_000,
      maxQueueBytes: null,
      maxQueueRequestsPerSecond: null,
      maxQueueBytesPerSecond: null,
      maxTenancyQueues: null,
      maxTenancyBytes: null,
      maxTenancyRequestsPerSecond: null,
      maxTenancyBytesPerSecond: null,
      maxTenancyConnections: null,
      maxUserConnections: null,
      auditRetentionDays: 90,
      sealing: 'on',
      masterKey: null,
      masterKeyFile: null,
      masterKeyDirectory: null,
      masterKeyId: null,
      dataKeyDays: 30,
      shutdownMs: 20_000,
      drainMs: 0,
      isRunByNpm: false,
    });
  });

  it('is frozen', () => {
    expect(Object.isFrozen(readConfiguration({}))).toBe(true);
  });

  it('takes an empty variable as an absent one, and leaves the others of the machine alone', () => {
    const environment = {
      TOWPATH_PORT: '',
      DATABASE_URL: '',
      PATH: '/bin',
      HOME: '',
      TOWPATHS: 'x',
      towpath_port: 'x',
    };
    expect(readConfiguration(environment)).toEqual(readConfiguration({}));
  });

  it('reads every variable', () => {
    const configuration = readConfiguration({
      DATABASE_URL: 'postgresql://user:secret@db.example:5433/queues?sslmode=require',
      TOWPATH_DATA_DIR: '/data',
      TOWPATH_HOST: '0.0.0.0',
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '65535',
      TOWPATH_STOMP_STRICT: '1',
      TOWPATH_STOMP_MAX_CONNECTIONS: '1000000',
      TOWPATH_STOMP_MAX_CONNECTIONS_PER_USER: '1',
      TOWPATH_STOMP_LOGIN_SECONDS: '0.1',
      TOWPATH_STOMP_IDLE_SECONDS: '86400',
      TOWPATH_STOMP_HEART_BEAT_SECONDS: '0.5',
      TOWPATH_STOMP_LEASE_SECONDS: '1',
      TOWPATH_PUBLIC_URL: 'https://queues.example.com/base//',
      TOWPATH_MODE: 'production',
      TOWPATH_ALLOW_EMBEDDED: '1',
      TOWPATH_TLS_CERT_FILE: '/tls/tls.crt',
      TOWPATH_TLS_KEY_FILE: '/tls/tls.key',
      TOWPATH_TLS_CLIENT_CA_FILE: '/tls/ca.crt',
      TOWPATH_TLS_CLIENT_CERTIFICATES: 'optional',
      TOWPATH_TLS_SELF_SIGNED: '1',
      TOWPATH_BEHIND_PROXY: '2',
      TOWPATH_CORS_ORIGINS: 'https://console.example.com, http://localhost:3000',
      TOWPATH_OIDC_ISSUER: 'https://login.example.com/realms/acme',
      TOWPATH_OIDC_AUDIENCE: 'queues',
      TOWPATH_OIDC_TENANCY: 'acme',
      TOWPATH_OIDC_USER_CLAIM: 'email',
      TOWPATH_OIDC_GROUPS_CLAIM: 'groups',
      TOWPATH_MAX_CONNECTIONS: '1000000',
      TOWPATH_LOG_LEVEL: 'debug',
      TOWPATH_POOL_SIZE: '2',
      TOWPATH_DATABASE_WAIT_SECONDS: '0.5',
      TOWPATH_MAX_MESSAGE_BYTES: '524288',
      TOWPATH_MAX_REQUEST_BYTES: '16777216',
      TOWPATH_BODY_MEMORY_BYTES: '68719476736',
      TOWPATH_BODY_MEMORY_WAIT_SECONDS: '0.5',
      TOWPATH_MERGING: 'off',
      TOWPATH_MAX_WAITING_REQUESTS: '1',
      TOWPATH_MAX_WAITING_BYTES: '1024',
      TOWPATH_MAX_CHANNELS: '1',
      TOWPATH_MAX_IN_FLIGHT: '1000000',
      TOWPATH_MAX_QUEUE_BYTES: '100000000000000',
      TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: '1000000',
      TOWPATH_MAX_QUEUE_BYTES_PER_SECOND: '10000000000',
      TOWPATH_MAX_TENANCY_QUEUES: '10',
      TOWPATH_MAX_TENANCY_BYTES: '20000000000',
      TOWPATH_MAX_TENANCY_REQUESTS_PER_SECOND: '5000',
      TOWPATH_MAX_TENANCY_BYTES_PER_SECOND: '50000000',
      TOWPATH_MAX_TENANCY_CONNECTIONS: '1000',
      TOWPATH_MAX_USER_CONNECTIONS: '100',
      TOWPATH_AUDIT_RETENTION_DAYS: '36500',
      TOWPATH_SEALING: 'required',
      TOWPATH_MASTER_KEY: 'a key',
      TOWPATH_MASTER_KEY_FILE: '/keys/one',
      TOWPATH_MASTER_KEY_DIRECTORY: '/keys',
      TOWPATH_MASTER_KEY_ID: 'two',
      TOWPATH_DATA_KEY_DAYS: '0.5',
      TOWPATH_DRAIN_SECONDS: '0.5',
      TOWPATH_SHUTDOWN_SECONDS: '1',
    });
    expect(configuration).toEqual({
      databaseUrl: 'postgresql://user:secret@db.example:5433/queues?sslmode=require',
      dataDirectory: '/data',
      host: '0.0.0.0',
      port: 0,
      stompPort: 65_535,
      stompStrict: true,
      stompMaxConnections: 1_000_000,
      stompMaxConnectionsPerUser: 1,
      stompLoginMs: 100,
      stompIdleMs: 86_400_000,
      stompHeartBeatMs: 500,
      stompLeaseMs: 1000,
      publicUrl: 'https://queues.example.com/base',
      mode: 'production',
      allowEmbedded: true,
      tlsCertFile: '/tls/tls.crt',
      tlsKeyFile: '/tls/tls.key',
      tlsClientCaFile: '/tls/ca.crt',
      tlsClientCertificates: 'optional',
      tlsSelfSigned: true,
      proxyHops: 2,
      corsOrigins: ['https://console.example.com', 'http://localhost:3000'],
      oidcIssuer: 'https://login.example.com/realms/acme',
      oidcAudience: 'queues',
      oidcTenancy: 'acme',
      oidcUserClaim: 'email',
      oidcGroupsClaim: 'groups',
      maxConnections: 1_000_000,
      logLevel: 'debug',
      poolSize: 2,
      databaseWaitMs: 500,
      maxMessageBytes: 524_288,
      maxRequestBytes: 16_777_216,
      bodyMemoryBytes: 68_719_476_736,
      bodyMemoryWaitMs: 500,
      merging: false,
      maxWaitingRequests: 1,
      maxWaitingBytes: 1024,
      maxChannels: 1,
      maxInFlight: 1_000_000,
      maxQueueBytes: 100_000_000_000_000,
      maxQueueRequestsPerSecond: 1_000_000,
      maxQueueBytesPerSecond: 10_000_000_000,
      maxTenancyQueues: 10,
      maxTenancyBytes: 20_000_000_000,
      maxTenancyRequestsPerSecond: 5000,
      maxTenancyBytesPerSecond: 50_000_000,
      maxTenancyConnections: 1000,
      maxUserConnections: 100,
      auditRetentionDays: 36_500,
      sealing: 'required',
      masterKey: 'a key',
      masterKeyFile: '/keys/one',
      masterKeyDirectory: '/keys',
      masterKeyId: 'two',
      dataKeyDays: 0.5,
      shutdownMs: 1000,
      drainMs: 500,
      isRunByNpm: false,
    });
  });

  it('lists every bad value in one message', () => {
    const bad = {
      DATABASE_URL: 'mysql://root:hunter2@db/x',
      TOWPATH_PORT: '65536',
      TOWPATH_STOMP_PORT: 'stomp',
      TOWPATH_PUBLIC_URL: 'ftp://x',
      TOWPATH_MODE: 'prod',
      TOWPATH_ALLOW_EMBEDDED: 'yes',
      TOWPATH_TLS_CLIENT_CERTIFICATES: 'no',
      TOWPATH_TLS_SELF_SIGNED: 'true',
      TOWPATH_BEHIND_PROXY: '17',
      TOWPATH_CORS_ORIGINS: '*',
      TOWPATH_MAX_CONNECTIONS: '0',
      TOWPATH_LOG_LEVEL: 'loud',
      TOWPATH_POOL_SIZE: '1',
      TOWPATH_DATABASE_WAIT_SECONDS: '0',
      TOWPATH_MAX_MESSAGE_BYTES: '-1',
      TOWPATH_MAX_REQUEST_BYTES: '1.5',
      TOWPATH_BODY_MEMORY_BYTES: '128MB',
      TOWPATH_BODY_MEMORY_WAIT_SECONDS: '31',
      TOWPATH_MERGING: 'yes',
      TOWPATH_MAX_WAITING_REQUESTS: '0',
      TOWPATH_MAX_WAITING_BYTES: '1023',
      TOWPATH_MAX_CHANNELS: '0',
      TOWPATH_MAX_IN_FLIGHT: '1e9',
      TOWPATH_MAX_QUEUE_BYTES: '0',
      TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: '0.5',
      TOWPATH_MAX_QUEUE_BYTES_PER_SECOND: 'unlimited',
      TOWPATH_AUDIT_RETENTION_DAYS: '0',
      TOWPATH_SHUTDOWN_SECONDS: '301',
      TOWPATH_NOTHING: 'x',
    };
    const message = problemsOf(bad);
    const lines = message.split('\n').slice(1);
    expect(lines.map((line) => String(line.trim().split(':')[0])).toSorted()).toEqual(Object.keys(bad).toSorted());
    // Of URLs, which may hold a password, and of unknown names the value is not repeated.
    const told = Object.entries(bad).filter(([name]) => !name.endsWith('_URL') && name !== 'TOWPATH_NOTHING');
    for (const [, value] of told) expect(message).toContain(JSON.stringify(value));
    expect(message).toContain('TOWPATH_PORT: must be an integer from 0 to 65535 (it is "65536")');
    expect(message).toContain('TOWPATH_DATABASE_WAIT_SECONDS: must be a number from 0.1 to 30');
    expect(message).toContain('TOWPATH_LOG_LEVEL: must be one of fatal, error, warn, info, debug, trace, silent');
  });

  it.each([' ', '0x1F90', '1e3', '+1', ' 8080', '8080 ', '8_080', 'NaN', 'Infinity', 'true', '80.0'])(
    'does not guess what the number %j means',
    (value) => {
      expect(problemsOf({ TOWPATH_PORT: value })).toMatch(/TOWPATH_PORT: must be an integer/);
    },
  );

  it.each([
    'mysql://user:hunter2@host/db',
    'user:hunter2@host',
    'postgres//user:hunter2@host',
    'postgres://user:hunter2@[host',
    'http://user:hunter2@host',
    ' postgres://user:hunter2@ho st/db',
  ])('never shows the password of DATABASE_URL=%s', (url) => {
    const message = problemsOf({ DATABASE_URL: url, TOWPATH_PORT: 'x' });
    expect(message).toMatch(/DATABASE_URL: must look like postgres:/);
    expect(message).not.toMatch(/hunter2/);
  });

  it('does not show a password in another URL either', () => {
    const message = problemsOf({ TOWPATH_PUBLIC_URL: 'ftp://user:hunter2@host' });
    expect(message).toMatch(/TOWPATH_PUBLIC_URL: must look like/);
    expect(message).not.toMatch(/hunter2/);
  });

  it.each([
    '*',
    'console.example.com',
    'https://a.example/',
    'https://a.example/path',
    'https://A.example',
    'null',
    ',',
  ])('takes no %j for an origin', (value) => {
    expect(problemsOf({ TOWPATH_CORS_ORIGINS: value })).toMatch(/TOWPATH_CORS_ORIGINS: must be origins/);
  });

  it.each(['TOWPATH_PROT', 'TOWPATH_', 'TOWPATH_PORTS', 'TOWPATH_DATABASE_URL', 'TOWPATH_port'])(
    'refuses %s, which is most likely a slip',
    (name) => {
      expect(problemsOf({ [name]: 'x' })).toContain(`${name}: there is no such setting`);
    },
  );

  it('overlooks what Kubernetes sets for a service that is named towpath', () => {
    const links = {
      TOWPATH_SERVICE_HOST: '10.0.0.1',
      TOWPATH_SERVICE_PORT: '8080',
      TOWPATH_SERVICE_PORT_HTTP: '8080',
      TOWPATH_PORT: 'tcp://10.0.0.1:8080',
      TOWPATH_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
      TOWPATH_PORT_8080_TCP_PROTO: 'tcp',
      TOWPATH_PORT_8080_TCP_PORT: '8080',
      TOWPATH_PORT_8080_TCP_ADDR: '10.0.0.1',
      TOWPATH_STOMP_PORT: 'tcp://10.0.0.2:61613',
      TOWPATH_STOMP_PORT_61613_TCP: 'tcp://10.0.0.2:61613',
      TOWPATH_STOMP_SERVICE_HOST: '10.0.0.2',
    };
    expect(readConfiguration(links)).toEqual(readConfiguration({}));
  });
});
