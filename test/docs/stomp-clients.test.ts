import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Pod } from '../../src/app.js';
import { Client } from '../rest/support.js';
import { interpreterOf, SCRIPT_CLIENTS } from '../stomp/clients/scripts.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { marked, readText, ROOT } from './documents.js';

const PAGE = 'docs/stomp-clients.md';
/** Where Debian's libactivemq-java is. */
const JARS = process.env['TEST_STOMP_JARS'] ?? '/usr/share/java';

/** How an example is run, by the name that it is marked with. Null: something that it needs is not here. */
const RUNNERS: Readonly<Record<string, { readonly needs: () => string | null; readonly output: string }>> = {
  'stompjs-websocket.mjs': { needs: () => process.execPath, output: 'stored\nhello, greeting (delivery 1)\n' },
  'stompjs-tcp.mjs': { needs: () => process.execPath, output: 'stored\nhello (delivery 1)\n' },
  'stompit.mjs': { needs: () => process.execPath, output: 'stored\nhello (delivery 1)\n' },
  'orders.py': { needs: python, output: 'stored\nhello (delivery 1)\ndeleted\n' },
  'Orders.java': { needs: java, output: 'stored\nhello (delivery 1)\ndeleted\n' },
};

function python(): string | null {
  const client = SCRIPT_CLIENTS.find(({ name }) => name === 'python3-stomp');
  return (client === undefined ? undefined : interpreterOf(client)) ?? null;
}

/** A JDK, because it compiles what it runs. */
function java(): string | null {
  const hasJars = existsSync(path.join(JARS, 'activemq-stomp.jar'));
  if (hasJars && spawnSync('javac', ['-version'], { timeout: 60_000 }).status === 0) return 'java';
  process.stderr.write('a JDK, or libactivemq-java, is not installed: the Java example is skipped\n');
  return null;
}

describe('the examples of STOMP clients', () => {
  let pods: TestPods;
  let pod: Pod;
  let rest: Client;
  let folder: string;

  beforeAll(async () => {
    pods = await startTestPods();
    [pod] = pods.pods as [Pod];
    rest = new Client(pod.url, pods.credentials.apiKey);
    await rest.createQueue({ compartmentId: pods.credentials.compartmentId, displayName: 'orders' });
    folder = mkdtempSync(path.join(tmpdir(), 'towpath-examples-'));
  });
  afterAll(async () => {
    rest.close();
    rmSync(folder, { recursive: true, force: true });
    await pods.stop();
  });

  it('are all run here', () => {
    const names = [...readText(PAGE).matchAll(/<!-- test: (\S+) -->/g)].map(([, name]) => name);
    expect(names).toEqual(Object.keys(RUNNERS));
  });

  for (const [name, { needs, output }] of Object.entries(RUNNERS)) {
    const interpreter = needs();
    // As they stand there, but for the port and for where the data directory is.
    const describeIt = interpreter === null ? describe.skip : describe;
    describeIt(name, () => {
      it('sends, receives and acknowledges', async () => {
        const code = marked(name, PAGE)
          .replaceAll('.towpath/', `${pods.dataDirectory}/`)
          .replaceAll('61613', `${pod.stompPort}`);
        const file = path.join(folder, name);
        writeFileSync(file, code);
        const args = name.endsWith('.mjs')
          ? ['--input-type=module', '-e', code]
          : name.endsWith('.java')
            ? ['-cp', path.join(JARS, '*'), file]
            : [file];
        const { stdout, stderr } = await promisify(execFile)(interpreter ?? '', args, { cwd: ROOT, timeout: 150_000 });
        // A message may overtake its receipt.
        expect({ lines: stdout.split('\n').toSorted(), stderr }).toEqual({
          lines: output.split('\n').toSorted(),
          stderr: '',
        });
        const { json } = await rest.call({ path: '/queues?displayName=orders' });
        const [queue] = (json as { items: { id: string }[] }).items;
        expect(await rest.get(queue!.id)).toEqual([]);
      });
    });
  }
});
