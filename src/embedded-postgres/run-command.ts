import { spawn } from 'node:child_process';

/** The user and group that the children run as; undefined: the user that runs Towpath. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

export interface CommandResult {
  /** The exit status; null when it was ended by a signal. */
  readonly status: number | null;
  /** Standard output and standard error, as they came. */
  readonly output: string;
}

/**
 * Children get this environment and nothing of the user's: PGDATA, PGPORT, PGOPTIONS or a localised LC_MESSAGES would
 * lead initdb and pg_ctl elsewhere, or change the texts that we recognise. (On Windows libuv adds what a process cannot
 * do without.) LC_ALL also keeps the postmaster single-threaded on macOS.
 */
const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC' };

/** How long to read on after a program has ended. */
const PIPES_MILLISECONDS = 500;

/** Runs a program to its end. Rejects only when it could not be started (its error has the code, e.g. EACCES). */
export function runCommand(
  program: string,
  commandArguments: readonly string[],
  options: { readonly user: ServerUser | undefined; readonly directory?: string; readonly input?: string },
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, commandArguments, {
      ...options.user,
      // Not the folder Towpath was started in: the server's user may not be allowed to be there.
      cwd: options.directory ?? '/',
      env: ENVIRONMENT,
      stdio: 'pipe',
      windowsHide: true,
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, output }));
    // A server that pg_ctl leaves behind may have inherited the pipes (it does on Windows): they would never close.
    child.on('exit', (status) => {
      setTimeout(() => resolve({ status, output }), PIPES_MILLISECONDS).unref();
    });
    // A program that ends without reading its input closes the pipe; its exit status tells the story.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** The last lines of a program's output, for an error message. */
export function lastLines(output: string, count = 6): string {
  return output.trim().split('\n').slice(-count).join('\n');
}
