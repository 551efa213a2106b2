import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { startTestPods, type TestPods } from '../support/pod.js';
import { marked, ROOT } from './documents.js';

describe("the README's examples", () => {
  let pods: TestPods;

  beforeAll(async () => {
    pods = await startTestPods();
  });
  afterAll(() => pods.stop());

  // As they stand in the README, but for where the data directory is. In the project's folder, where node_modules is.
  const run = async (program: string, options: readonly string[], name: string): Promise<string> => {
    const code = marked(name).replaceAll('.towpath/', `${pods.dataDirectory}/`);
    const { stdout } = await promisify(execFile)(program, [...options, code], { cwd: ROOT });
    return stdout;
  };

  it('put and get a message with curl', async () => {
    const output = await run('sh', ['-euc'], 'shell');
    expect(output).toMatch(/^HTTP\/1.1 202 /);
    expect(output).toMatch(/"content":"hello","receipt":/);
    expect(output).toMatch(/HTTP\/1.1 204 /);
  });

  it('put and get a message with the SDK', async () => {
    const output = await run(process.execPath, ['--input-type=module', '-e'], 'example.mjs');
    expect(output).toContain('hello from the SDK (delivery 1)');
  });

  // In the queue that the first one has made.
  it('send and receive a message over STOMP', async () => {
    const output = await run(process.execPath, ['--input-type=module', '-e'], 'stomp.mjs');
    expect(output).toBe('hello over STOMP (delivery 1)\n');
  });
});
