import pg from 'pg';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, renameSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ROOT } from '../docs/documents.js';
import { PodProcess } from '../pods/pod-process.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

describe('a pod in production mode, as it is deployed', () => {
  let test: TestDatabase;
  let folder: string;

  beforeAll(async () => {
    test = await createTestDatabase();
    await asSuperuser(`create role ${role} login in role towpath_test password 'not-a-known-one'`);
    folder = mkdtempSync(path.join(tmpdir(), 'production-'));
  });
  afterAll(async () => {
    await asSuperuser(`drop role ${role}`);
    await test.drop();
    rmSync(folder, { recursive: true, force: true });
  });

  const role = `production_${randomBytes(4).toString('hex')}`;
  /** The password of the tests' role is its name, which production refuses: another one, with the same rights. */
  const databaseUrl = (): string => test.url.replace(/:\/\/[^@]+@/, `://${role}:not-a-known-one@`);
  const asSuperuser = async (statement: string): Promise<void> => {
    const client = new pg.Client({ connectionString: test.superuserUrl });
    await client.connect();
    await client.query(statement);
    await client.end();
  };

  const run = (options: string[], environment: Record<string, string>): Promise<{ code: number; output: string }> =>
    new Promise((resolve) => {
      const env = {
        PATH: process.env['PATH'],
        TMPDIR: process.env['TMPDIR'],
        TOWPATH_PORT: '0',
        TOWPATH_STOMP_PORT: '0',
        ...environment,
      };
      execFile(
        process.execPath,
        [path.join(ROOT, 'dist/main.js'), ...options],
        { env, cwd: folder },
        (error, out, err) => resolve({ code: Number(error?.code ?? 0), output: out + err }),
      );
    });

  it('tells everything that is wrong at once, and makes nothing', async () => {
    const environment = {
      TOWPATH_MODE: 'production',
      DATABASE_URL: test.url,
      TOWPATH_HOST: '0.0.0.0',
      TOWPATH_DATA_DIR: path.join(folder, 'first'),
    };
    const { code, output } = await run([], environment);
    expect(code).toBe(1);
    expect(output).toMatch(
      /the password in DATABASE_URL[\s\S]*no master key[\s\S]*without TLS[\s\S]*the database has no identity yet/,
    );
    expect(output.match(/^ {2}- /gm)).toHaveLength(4);
    expect(output).not.toContain('towpath_test');
    expect(readdirSync(folder)).toEqual([]);
    expect(await test.sql('select * from towpath.tenancy')).toEqual([]);
  });

  it('starts once an operator has made the first identity and moved its secrets away', async () => {
    const data = path.join(folder, 'pod');
    const masterKey = { TOWPATH_MASTER_KEY: randomBytes(32).toString('base64') };
    const environment = {
      TOWPATH_MODE: 'production',
      DATABASE_URL: databaseUrl(),
      TOWPATH_DATA_DIR: data,
      ...masterKey,
    };
    const refused = await run([], environment);
    expect(refused).toMatchObject({ code: 1, output: expect.stringMatching(/no identity yet.*--make-first-identity/) });

    const made = await run(['--make-first-identity'], environment);
    expect(made).toMatchObject({ code: 0, output: expect.stringContaining('The first identity was made') });
    const again = await run(['--make-first-identity'], environment);
    expect(again).toMatchObject({ code: 0, output: expect.stringContaining('has its identities already') });
    expect(await run([], environment)).toMatchObject({
      code: 1,
      output: expect.stringMatching(/credentials\.json holds an administrator's secrets/),
    });

    const safe = path.join(folder, 'safe');
    renameSync(data, safe);
    mkdirSync(data);
    const pod = new PodProcess(databaseUrl(), data, { TOWPATH_MODE: 'production', ...masterKey });
    try {
      await pod.ready();
      const { apiKey } = JSON.parse(readFileSync(path.join(safe, 'credentials.json'), 'utf8')) as { apiKey: string };
      const answer = await fetch(`${pod.url}/20210201/queues`, { headers: { authorization: `Bearer ${apiKey}` } });
      expect(answer.status).toBe(200);
      expect(pod.log).not.toContain(apiKey);
      // It writes no secrets of its own.
      expect(readdirSync(data)).toEqual([]);
    } finally {
      await pod.killed();
    }
  });

  it('knows one argument only', async () => {
    const { code, output } = await run(['--make-identity'], { DATABASE_URL: test.url });
    expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining('--make-first-identity') });
  });

  it('says in plain words what is wrong with its certificate', async () => {
    const environment = {
      DATABASE_URL: test.url,
      TOWPATH_TLS_CERT_FILE: '/nowhere.crt',
      TOWPATH_TLS_KEY_FILE: '/n.key',
    };
    const { code, output } = await run([], { ...environment, TOWPATH_LOG_LEVEL: 'silent', TOWPATH_DATA_DIR: folder });
    expect(code).toBe(1);
    expect(output).toMatch(/^\/nowhere\.crt cannot be read: ENOENT/);
  });
});
