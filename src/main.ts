import 'reflect-metadata';
import path from 'node:path';
import { startPod, type Pod } from './app.js';
import { ConfigurationError, readConfiguration, type Configuration } from './config/environment.js';
import { MigrationError } from './database/migrator.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from './embedded-postgres/embedded-postgres.js';
import { EmbeddedPostgresError } from './embedded-postgres/embedded-postgres-error.js';
import { ensureFirstIdentity } from './identity/first-identity.js';
import { banner } from './operations/banner.js';
import { createLogger } from './operations/log.js';

async function main(): Promise<void> {
  const configuration = readConfiguration();
  const logger = createLogger(configuration.logLevel);
  let embedded: EmbeddedPostgres | null = null;
  let pod: Pod | null = null;
  let stopping: Promise<void> | null = null;

  const stop = (): Promise<void> =>
    (stopping ??= (async (): Promise<void> => {
      // What hangs must not keep the process: the database takes back whatever was not committed.
      const cut = setTimeout(() => process.exit(1), configuration.shutdownMs);
      cut.unref();
      await pod?.stop();
      await embedded?.stop();
    })());
  const onSignal = (signal: NodeJS.Signals): void => {
    logger.info(`${signal}: stopping`);
    // Before the first identity is ready there is nothing that could be drained; the starting ends by itself.
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ err: error }, 'the stop failed');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);

  try {
    embedded = await startDatabase(configuration, (line) => logger.info(line));
    const databaseUrl = configuration.databaseUrl ?? embedded?.url;
    if (databaseUrl === undefined) throw new Error('there is neither a DATABASE_URL nor an embedded server');
    if (stopping !== null) return;
    pod = await startPod(configuration, databaseUrl, logger);
    const identity = await ensureFirstIdentity(pod.database, configuration, pod.url, logger);
    if (stopping !== null) return;
    process.stdout.write(banner(pod.url, databaseUrl, configuration.dataDirectory, identity));
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
}

function startDatabase(
  configuration: Configuration,
  log: (line: string) => void,
): Promise<EmbeddedPostgres | null> | null {
  if (configuration.databaseUrl !== null) return null;
  return startEmbeddedPostgres({ dataDirectory: path.resolve(configuration.dataDirectory), log });
}

main().catch((error: unknown) => {
  // Mistakes that an operator can mend are told in words; of ours the stack helps.
  const isTheirs =
    error instanceof ConfigurationError || error instanceof EmbeddedPostgresError || error instanceof MigrationError;
  process.stderr.write(`${isTheirs ? error.message : describe(error)}\n`);
  process.exit(1);
});

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') return `The port is taken (${error.message}): set TOWPATH_PORT to another one.`;
  return error.stack ?? error.message;
}
