import 'reflect-metadata';
import { makeFirstIdentity, startPod, type Pod } from './app.js';
import { ConfigurationError, readConfiguration, type Configuration } from './config/environment.js';
import { NO_IDENTITY, problemsOf, refusal } from './config/start-checks.js';
import { hasIdentity } from './database/has-identity.js';
import { MigrationError } from './database/migrator.js';
import { DatabaseConnectionError, waitForDatabase } from './database/wait-for-database.js';
import {
  EmbeddedPostgresError,
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from './embedded-postgres/embedded-postgres.js';
import { ensureFirstIdentity, type FirstIdentity } from './identity/first-identity.js';
import { banner } from './operations/banner.js';
import { createLogger } from './operations/log.js';
import { selfSignedPaths } from './tls/self-signed.js';
import { TlsError } from './tls/tls-error.js';

/** How long a pod waits for its database at the start. */
const DATABASE_START_MS = 60_000;

/** Makes the first identity and ends, for databases whose pods run in production mode, where none is made by itself. */
const MAKE_FIRST_IDENTITY = '--make-first-identity';

async function main(): Promise<void> {
  const unknown = process.argv.slice(2).filter((argument) => argument !== MAKE_FIRST_IDENTITY);
  if (unknown.length > 0) {
    throw new ConfigurationError(
      `There is no argument ${unknown.join(' ')}. Everything is set by environment variables; the only argument is ${MAKE_FIRST_IDENTITY}.`,
    );
  }
  const onlyIdentity = process.argv.includes(MAKE_FIRST_IDENTITY);
  const configuration = readConfiguration();
  const logger = createLogger(configuration.logLevel);
  const log = (line: string): void => logger.info(line);
  let embedded: EmbeddedPostgres | null = null;
  let pod: Pod | null = null;
  let isStopping = false;

  const start = async (): Promise<void> => {
    if (!onlyIdentity) await refuseProblems(configuration);
    if (configuration.databaseUrl === null) {
      embedded = await startEmbeddedPostgres({ dataDirectory: configuration.dataDirectory, log });
    }
    const databaseUrl = configuration.databaseUrl ?? embedded?.url;
    if (databaseUrl === undefined) throw new Error('there is neither a DATABASE_URL nor an embedded server');
    if (isStopping) return;
    await waitForDatabase(databaseUrl, DATABASE_START_MS, log);
    if (isStopping) return;
    if (onlyIdentity) {
      const identity = await makeFirstIdentity(configuration, databaseUrl, logger);
      process.stdout.write(`${tellIdentity(identity, configuration.dataDirectory)}\n`);
      return;
    }
    if (configuration.mode === 'production' && (await hasIdentity(databaseUrl)) === false) {
      throw refusal(configuration, [NO_IDENTITY]);
    }
    // A second pod on the same directory (README) must not turn the first one's clients to itself.
    const isOwner = configuration.databaseUrl === null;
    let identity: FirstIdentity = { created: false, credentials: null };
    // Whoever waits for /readyz finds the files.
    pod = await startPod(configuration, databaseUrl, logger, async (database, url) => {
      identity = await ensureFirstIdentity(database, configuration, url, logger, isOwner);
    });
    if (isStopping) return;
    // The log of a service is no place for its secrets; a person at a terminal, or trying it out, wants to copy them.
    const showSecrets = configuration.databaseUrl === null || process.stdout.isTTY;
    const { dataDirectory, tlsSelfSigned } = configuration;
    const trust = tlsSelfSigned ? selfSignedPaths(dataDirectory).certificate : null;
    process.stdout.write(banner(pod.url, databaseUrl, dataDirectory, identity, showSecrets, trust));
  };
  // The embedded server stops last: what drains before still needs it.
  const stop = async (): Promise<void> => {
    await pod?.stop();
    await embedded?.stop();
  };

  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) return;
    isStopping = true;
    log(`${signal}: stopping`);
    // What hangs must not keep the process: the database takes back whatever was not committed.
    setTimeout(() => process.exit(1), configuration.drainMs + configuration.shutdownMs).unref();
    // A start that is under way ends first, so that nothing it opens is left behind.
    started
      .catch(() => undefined)
      .then(stop)
      .then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({ err: error }, 'the stop failed');
          process.exit(1);
        },
      );
  };
  const started = start();
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  if (configuration.isRunByNpm) stopWithParent(() => onSignal('SIGHUP'));

  try {
    await started;
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
  if (onlyIdentity) {
    await stop();
    process.exit(0);
  }
}

/** Throws one error that lists everything that speaks against starting. */
async function refuseProblems(configuration: Configuration): Promise<void> {
  const problems = problemsOf(configuration);
  if (problems.length === 0) return;
  const { mode, databaseUrl } = configuration;
  // Asked here for the list alone: where nothing else is wrong it is asked once the database is up.
  if (mode === 'production' && databaseUrl !== null && (await hasIdentity(databaseUrl)) === false) {
    problems.push(NO_IDENTITY);
  }
  throw refusal(configuration, problems);
}

function tellIdentity({ created, credentials }: FirstIdentity, dataDirectory: string): string {
  if (created) {
    return `The first identity was made. Its secrets are in ${dataDirectory} (credentials.json, oci/) and nowhere else: keep them, and not where a pod runs.`;
  }
  return credentials === null
    ? 'The database has its identities already; nothing was made.'
    : `The database has its identities already; those of the first one are in ${dataDirectory}.`;
}

/**
 * npm runs scripts in a shell of its own, which ends on SIGTERM without a word to what it runs. So under npm the pod
 * looks whether its parent is still there.
 */
function stopWithParent(stop: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    stop();
  }, 500);
  timer.unref();
}

main().catch((error: unknown) => {
  process.stderr.write(`${tell(error)}\n`);
  process.exit(1);
});

/** Mistakes that an operator can mend are told in words; of ours the stack helps. */
function tell(error: unknown): string {
  const theirs = [ConfigurationError, DatabaseConnectionError, EmbeddedPostgresError, MigrationError, TlsError];
  if (!(error instanceof Error)) return String(error);
  if (theirs.some((kind) => error instanceof kind)) return error.message;
  if ('code' in error && error.code === 'EADDRINUSE') {
    return `The port is taken (${error.message}): set TOWPATH_PORT, or for STOMP TOWPATH_STOMP_PORT, to another one.`;
  }
  return error.stack ?? error.message;
}
