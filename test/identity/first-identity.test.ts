import { createPublicKey } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { AuthenticationService } from '../../src/identity/authentication.service.js';
import { ensureFirstIdentity, fingerprintOf, type FirstIdentity } from '../../src/identity/first-identity.js';
import { createTestDatabase } from '../support/database.js';
import { SDKS, startRecorder } from './wire.js';

const ENDPOINT = 'http://127.0.0.1:8080';

interface Setup extends AsyncDisposable {
  readonly test: Awaited<ReturnType<typeof createTestDatabase>>;
  readonly directory: string;
  readonly file: string;
  readonly warnings: string[];
  start(directory?: string, endpoint?: string): Promise<FirstIdentity>;
}

async function setup(): Promise<Setup> {
  const test = await createTestDatabase();
  const directory = await mkdtemp(path.join(tmpdir(), 'towpath-identity-'));
  const warnings: string[] = [];
  const log = { info: (): void => undefined, warn: (message: string): void => void warnings.push(message) };
  return {
    test,
    directory,
    file: path.join(directory, 'data', 'credentials.json'),
    warnings,
    start: (dataDirectory = path.join(directory, 'data'), endpoint = ENDPOINT) =>
      ensureFirstIdentity(test.database, { dataDirectory }, endpoint, log),
    [Symbol.asyncDispose]: async () => {
      await rm(directory, { recursive: true });
      await test.drop();
    },
  };
}

const read = async (file: string): Promise<unknown> => JSON.parse(await readFile(file, 'utf8')) as unknown;

describe('the first start', () => {
  it('makes an identity and writes it where only the owner can read it', async () => {
    await using context = await setup();
    const { created, credentials } = await context.start();
    expect(created).toBe(true);
    expect(await read(context.file)).toEqual(credentials);
    expect(Object.keys(credentials ?? {})).toEqual([
      'endpoint',
      'tenancyId',
      'compartmentId',
      'userId',
      'fingerprint',
      'apiKey',
      'stompLogin',
      'stompPasscode',
    ]);
    expect(credentials).toMatchObject({ endpoint: ENDPOINT, stompLogin: 'towpath/admin' });
    expect(credentials?.compartmentId).not.toBe(credentials?.tenancyId);
    const data = path.dirname(context.file);
    for (const name of ['credentials.json', 'oci/config', 'oci/key.pem']) {
      expect((await stat(path.join(data, name))).mode & 0o777).toBe(0o600);
    }
    expect((await readdir(data, { recursive: true })).toSorted()).toEqual([
      'credentials.json',
      'oci',
      'oci/config',
      'oci/key.pem',
    ]);
  });

  it('writes credentials that work: API key, STOMP login, and the OCI configuration in both versions of the SDK', async () => {
    await using context = await setup();
    const { credentials } = await context.start();
    const service = new AuthenticationService(new IdentityFunctions(context.test.database));
    const owner = { tenancyId: credentials?.tenancyId, userId: credentials?.userId };
    const bearer = {
      method: 'GET',
      target: '/',
      rawHeaders: ['Authorization', `Bearer ${credentials?.apiKey}`],
      body: undefined,
    };
    expect(await service.authenticate(bearer)).toEqual({
      ...owner,
      credential: 'api-key',
      credentialId: expect.stringMatching(/^ocid1\.queueapikey\./),
    });
    const { stompLogin = '', stompPasscode = '' } = credentials ?? {};
    expect(await service.authenticateLogin(stompLogin, stompPasscode)).toEqual({
      ...owner,
      credential: 'auth-token',
      credentialId: expect.stringMatching(/^ocid1\.authtoken\./),
    });

    const key = createPublicKey(await readFile(path.join(path.dirname(context.file), 'oci', 'key.pem')));
    expect(fingerprintOf(key)).toBe(credentials?.fingerprint);
    const recorder = await startRecorder();
    const warn = console.warn;
    console.warn = (): void => undefined;
    try {
      for (const sdk of [SDKS.nested, SDKS.newer]) {
        const provider = new sdk.ConfigFileAuthenticationDetailsProvider(
          path.join(path.dirname(context.file), 'oci', 'config'),
        );
        const client = new sdk.FetchHttpClient(new sdk.DefaultRequestSigner(provider));
        await client.send({ uri: `${recorder.url}/20210201/queues`, method: 'GET', headers: new Headers() });
      }
    } finally {
      console.warn = warn;
      await recorder.stop();
    }
    expect(recorder.requests).toHaveLength(2);
    for (const request of recorder.requests) {
      expect(await service.authenticate(request)).toEqual({
        ...owner,
        credential: 'signature',
        credentialId: credentials?.fingerprint,
      });
    }
  });

  it('of ten pods at once makes one identity, which all of them find', async () => {
    await using context = await setup();
    const results = await Promise.all(Array.from({ length: 10 }, () => context.start()));
    expect(results.filter((result) => result.created)).toHaveLength(1);
    expect(new Set(results.map((result) => JSON.stringify(result.credentials))).size).toBe(1);
    expect(results[0]?.credentials).toEqual(await read(context.file));
  });

  it('of ten pods with directories of their own makes one identity, which the others do not have', async () => {
    await using context = await setup();
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, index) => context.start(path.join(context.directory, `pod-${index}`))),
    );
    expect(results.filter((result) => result.created)).toHaveLength(1);
    expect(results.filter((result) => result.credentials === null)).toHaveLength(9);
  });

  it('makes nothing where the files cannot be written, and says what to do', async () => {
    await using context = await setup();
    const blocked = path.join(context.directory, 'a-file');
    await writeFile(blocked, '');
    await expect(context.start(blocked)).rejects.toThrow(/TOWPATH_DATA_DIR/);
    const functions = new IdentityFunctions(context.test.database);
    expect(await functions.findFirstTenancy()).toBeNull();
    expect((await context.start()).created).toBe(true);
  });

  it('replaces the files of a start that crashed before its commit', async () => {
    await using context = await setup();
    await using crashed = await setup();
    await crashed.start(path.dirname(context.file));
    const left = await read(context.file);
    const { created, credentials } = await context.start();
    expect(created).toBe(true);
    expect(credentials).not.toEqual(left);
    expect(await read(context.file)).toEqual(credentials);
    expect(context.warnings).toEqual([]);
  });
});

describe('a later start', () => {
  it('changes nothing but the endpoint, where that changed', async () => {
    await using context = await setup();
    const first = await context.start();
    expect(await context.start()).toEqual({ created: false, credentials: first.credentials });
    const moved = await context.start(undefined, 'https://queues.example.com');
    expect(moved.credentials).toEqual({ ...first.credentials, endpoint: 'https://queues.example.com' });
    expect(await read(context.file)).toEqual(moved.credentials);
    expect((await stat(context.file)).mode & 0o777).toBe(0o600);
  });

  it('corrects where the key is after the directory was moved', async () => {
    await using context = await setup();
    await context.start();
    const elsewhere = path.join(context.directory, 'elsewhere');
    await rename(path.dirname(context.file), elsewhere);
    const { credentials } = await context.start(elsewhere);
    expect(credentials).not.toBeNull();
    expect(await readFile(path.join(elsewhere, 'oci', 'config'), 'utf8')).toContain(
      `key_file=${elsewhere}/oci/key.pem\n`,
    );
  });

  it('has no credentials without the file, with a broken one, or with that of another database', async () => {
    await using context = await setup();
    await using other = await setup();
    await context.start();
    await other.start();
    expect(await context.start(other.directory)).toEqual({ created: false, credentials: null });
    expect(await context.start(path.dirname(other.file))).toEqual({ created: false, credentials: null });
    expect(context.warnings.join()).toMatch(/another database/);
    const foreign = await read(other.file);
    await writeFile(context.file, '{"endpoint":');
    await chmod(context.file, 0o600);
    expect(await context.start()).toEqual({ created: false, credentials: null });
    expect(context.warnings.join()).toMatch(/not what was written/);
    expect(await read(other.file)).toEqual(foreign);
  });
});
