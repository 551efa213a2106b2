// A pod in a process of its own, for benchmarks that measure whole requests: what it costs the processor, and a client for it.
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import path from 'node:path';
import { processorMsOf } from './processor-time.mjs';

/** Options of Node for pods, such as --cpu-prof. */
const NODE_OPTIONS = (process.env.BENCH_NODE_OPTIONS ?? '').split(' ').filter((option) => option !== '');

/** The program, as it is deployed. */
export const MAIN = path.resolve(import.meta.dirname, '../dist/main.js');
export const API = '/20210201';
export const bearer = (token) => ({ authorization: `Bearer ${token}`, 'content-type': 'application/json' });

/**
 * Starts `script` (MAIN, or one that prints the same banner) on a database, with its files in `dataDirectory`. Resolves when it
 * serves: `endpoint`, `credentials` (null where it made none), `cpuMs`, `kill`, `stop`.
 */
export async function startPodProcess({ script = MAIN, databaseUrl, dataDirectory, environment = {} }) {
  const child = spawn(process.execPath, [...NODE_OPTIONS, script], {
    env: {
      TOWPATH_LOG_LEVEL: 'silent',
      // Other work on the machine must not end the run.
      TOWPATH_DATABASE_WAIT_SECONDS: '30',
      ...process.env,
      DATABASE_URL: databaseUrl,
      TOWPATH_DATA_DIR: dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await new Promise((resolve, reject) => {
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      const [, found] = /serves queues on (\S+)/.exec(output) ?? [];
      if (found !== undefined) resolve(found);
    });
    child.once('exit', () => reject(new Error(`the pod did not start:\n${output}`)));
  });
  const credentials = await readFile(path.join(dataDirectory, 'credentials.json'), 'utf8').then(JSON.parse, () => null);
  return {
    endpoint: new URL(url),
    credentials,
    /** What it has taken of the processors so far. */
    cpuMs: () => processorMsOf(child.pid),
    stop: async () => {
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null) await new Promise((end) => child.once('exit', end));
    },
  };
}

/** One request over `agent`: status and text. `target` is without the version of the API. */
export function send({ hostname, port }, agent, method, target, headers, body = '') {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        agent,
        hostname,
        port,
        method,
        path: API + target,
        headers: { 'content-length': Buffer.byteLength(body), ...headers },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode, text }));
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
