import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

/** A client of another language: a script beside this file, and what it needs. */
export interface ScriptClient {
  /** The package of Debian. */
  readonly name: string;
  readonly script: string;
  /** Where it may be; the first that has the module is taken. A version manager's may hide the system's. */
  readonly interpreters: readonly string[];
  /** Arguments that make the interpreter load the module, and end. */
  readonly probe: readonly string[];
}

export const SCRIPT_CLIENTS: readonly ScriptClient[] = [
  {
    name: 'python3-stomp',
    script: 'python.py',
    interpreters: ['python3', '/usr/bin/python3'],
    probe: ['-c', 'import stomp'],
  },
  { name: 'ruby-stomp', script: 'ruby.rb', interpreters: ['ruby', '/usr/bin/ruby'], probe: ['-e', 'require "stomp"'] },
  {
    name: 'libnet-stomp-perl',
    script: 'perl.pl',
    interpreters: ['perl', '/usr/bin/perl'],
    probe: ['-MNet::Stomp', '-MJSON::PP', '-e', '1'],
  },
];

export type ScriptEvent =
  | { readonly event: 'connected'; readonly version: string }
  | { readonly event: 'receipt'; readonly id: string }
  | { readonly event: 'message'; readonly body: string };

/** The interpreter that can run it; undefined, and a line on the console: none. */
export function interpreterOf({ name, interpreters, probe }: ScriptClient): string | undefined {
  const found = interpreters.find((interpreter) => spawnSync(interpreter, probe, { timeout: 30_000 }).status === 0);
  if (found === undefined) process.stderr.write(`${name} is not installed: its tests are skipped\n`);
  return found;
}

export interface ScriptTarget {
  readonly host: string;
  readonly port: number;
  readonly login: string;
  readonly passcode: string;
  readonly destination: string;
  readonly count: number;
}

/** Connects, sends `count` with receipts, subscribes, receives and acknowledges each, and disconnects. */
export async function runScript(
  interpreter: string,
  { script }: ScriptClient,
  { host, port, login, passcode, destination, count }: ScriptTarget,
): Promise<ScriptEvent[]> {
  const { stdout } = await promisify(execFile)(
    interpreter,
    [path.join(import.meta.dirname, script), host, String(port), login, passcode, destination, String(count)],
    { timeout: 120_000, env: { ...process.env, LANG: 'C.UTF-8' } },
  );
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ScriptEvent);
}
