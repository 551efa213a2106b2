import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { ensureFirstIdentity } from '../../src/identity/first-identity.js';
import type { Credentials } from '../../src/identity/credentials-file.js';
import { createLogger } from '../../src/operations/log.js';
import { createTestDatabase, type TestDatabase } from './database.js';

export interface TestPods {
  readonly pods: readonly Pod[];
  readonly test: TestDatabase;
  readonly credentials: Credentials;
  readonly dataDirectory: string;
  /** Starts one more pod on the same database. */
  readonly add: (environment?: Record<string, string>) => Promise<Pod>;
  readonly stop: () => Promise<void>;
}

/** One or more pods in this process on a database of their own, with the first identity made. */
export async function startTestPods(count = 1, environment: Record<string, string> = {}): Promise<TestPods> {
  const test = await createTestDatabase();
  const dataDirectory = await mkdtemp(path.join(tmpdir(), 'towpath-pod-'));
  const pods: Pod[] = [];
  const add = async (more: Record<string, string> = {}): Promise<Pod> => {
    const configuration = readConfiguration({
      DATABASE_URL: test.url,
      TOWPATH_DATA_DIR: dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      ...environment,
      ...more,
    });
    const pod = await startPod(configuration, test.url, createLogger(configuration.logLevel));
    pods.push(pod);
    return pod;
  };
  for (let index = 0; index < count; index += 1) await add();
  const [first] = pods;
  if (first === undefined) throw new Error('at least one pod');
  const log = { info: (): void => undefined, warn: (): void => undefined };
  const { credentials } = await ensureFirstIdentity(first.database, { dataDirectory }, first.url, log);
  if (credentials === null) throw new Error('the first identity was not made');
  return {
    pods,
    test,
    credentials,
    dataDirectory,
    add,
    stop: async () => {
      await Promise.all(pods.map((pod) => pod.stop()));
      await test.drop();
      await rm(dataDirectory, { recursive: true, force: true });
    },
  };
}
