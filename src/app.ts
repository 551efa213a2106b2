import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { AppModule } from './app.module.js';
import { RefusalRecorder } from './audit/refusal-recorder.js';
import type { Configuration } from './config/environment.js';
import { PublicEndpoint } from './config/public-endpoint.js';
import { Database } from './database/database.js';
import { EncryptionFunctions } from './database/encryption-functions.js';
import { FairTurns } from './fairness/fair-turns.js';
import { IdentityFunctions } from './database/identity-functions.js';
import { migrate } from './database/migrator.js';
import { Notifications } from './database/notifications.js';
import { openMasterKeys } from './encryption/open-master-keys.js';
import { TokenSeal } from './encryption/token-seal.js';
import { ensureFirstIdentity, type FirstIdentity } from './identity/first-identity.js';
import { LivePods } from './limits/live-pods.js';
import { MemoryBudget } from './memory/memory-budget.js';
import { MaintenanceService } from './maintenance/maintenance.service.js';
import { WaitingRooms } from './messages/waiting/waiting-rooms.js';
import { Metrics } from './operations/metrics.js';
import { NestLogger } from './operations/nest-logger.js';
import { Readiness } from './operations/readiness.js';
import { Connections, LISTEN_BACKLOG } from './rest/connections.js';
import { describe } from './rest/description.js';
import { createHttpAdapter } from './rest/http-server.js';
import { refusalOf } from './rest/refused-operations.js';
import { BODY_COPIES, maxBodyBytes } from './rest/request-body.js';
import { SessionReports } from './stomp-sessions/session-reports.js';
import { StompGateway } from './stomp/stomp-gateway.js';
import { loadCertificate } from './tls/load-certificate.js';
import type { ServerCertificate } from './tls/server-certificate.js';

export const MIGRATIONS = path.resolve(import.meta.dirname, '../migrations');
const VERSION = '0.1.0';
const SEAL_SECRET = 'token-seal';

/** A running pod. */
export interface Pod {
  readonly app: NestFastifyApplication;
  readonly database: Database;
  /** Under which URL clients reach it. */
  readonly url: string;
  readonly port: number;
  /** Of STOMP over TCP. */
  readonly stompPort: number;
  /**
   * Stops in the order that loses nothing: not ready any more, a while for load balancers to notice, STOMP connections end
   * when what they have sent is done, parked long polls are answered with nothing, requests under way finish, then the
   * connections to the database close.
   */
  stop(): Promise<void>;
}

/**
 * Migrates the database, builds the application and listens. Whatever it opened is closed again when it fails.
 * `prepare` is done after it listens (only then the port is known) and before it is ready.
 */
export async function startPod(
  configuration: Configuration,
  databaseUrl: string,
  logger: Logger,
  prepare: (database: Database, url: string) => Promise<void> = () => Promise.resolve(),
): Promise<Pod> {
  await migrate(databaseUrl, MIGRATIONS, (line) => logger.info(line));
  const database = new Database(databaseUrl, configuration.poolSize, configuration.databaseWaitMs, (error) =>
    logger.warn({ err: error }, 'an idle database connection broke'),
  );
  const notifications = new Notifications(databaseUrl, logger);
  const closeFoundations = async (): Promise<void> => {
    await notifications.close();
    await database.close();
  };
  let app: NestFastifyApplication | null = null;
  let certificate: ServerCertificate | null = null;
  try {
    certificate = await loadCertificate(configuration, logger);
    const identity = new IdentityFunctions(database);
    const secret = await identity.shareSecret(SEAL_SECRET, randomBytes(32));
    const masterKeys = await openMasterKeys(configuration, new EncryptionFunctions(database), identity, logger);
    const memory = new MemoryBudget({
      // Two bodies of the largest size find room in any case.
      bytes: Math.max(configuration.bodyMemoryBytes, 3 * BODY_COPIES * maxBodyBytes(configuration)),
      waitMs: configuration.bodyMemoryWaitMs,
    });
    const seal = new TokenSeal(secret);
    const connections = new Connections(configuration.maxConnections);
    const foundations = {
      configuration,
      database,
      notifications,
      seal,
      memory,
      connections,
      turns: new FairTurns(),
      certificate,
      masterKeys,
    };
    const running = await buildApp(foundations, logger);
    app = running;
    await notifications.start();
    await running.listen({ port: configuration.port, host: configuration.host, backlog: LISTEN_BACKLOG });
    const stomp = running.get(StompGateway);
    const stompPort = await stomp.listen(running.getHttpServer());
    certificate?.start();
    const address = running.getHttpServer().address() as { port: number };
    const endpoint = running.get(PublicEndpoint);
    endpoint.listensOn(address.port);
    await prepare(database, endpoint.url);
    await running.get(LivePods).start();
    running.get(SessionReports).start();
    running.get(MaintenanceService).start();
    running.get(Readiness).start();
    return {
      app: running,
      database,
      url: endpoint.url,
      port: address.port,
      stompPort,
      stop: async (): Promise<void> => {
        running.get(Readiness).stop();
        await new Promise((resolve) => setTimeout(resolve, configuration.drainMs));
        certificate?.stop();
        const drained = stomp.drain();
        running.get(WaitingRooms).close();
        await drained;
        await running.get(SessionReports).stop();
        await running.get(MaintenanceService).stop();
        await running.close();
        await running.get(LivePods).stop();
        await closeFoundations();
      },
    };
  } catch (error) {
    certificate?.stop();
    await app?.close();
    await closeFoundations();
    throw error;
  }
}

/** Makes the first identity where the database has none, without a pod that serves anything. */
export async function makeFirstIdentity(
  configuration: Configuration,
  databaseUrl: string,
  logger: Logger,
): Promise<FirstIdentity> {
  await migrate(databaseUrl, MIGRATIONS, (line) => logger.info(line));
  const database = new Database(databaseUrl, 2, configuration.databaseWaitMs, () => undefined);
  try {
    return await ensureFirstIdentity(database, configuration, new PublicEndpoint(configuration).url, logger);
  } finally {
    await database.close();
  }
}

async function buildApp(
  foundations: Parameters<typeof AppModule.of>[0],
  logger: Logger,
): Promise<NestFastifyApplication> {
  const adapter = createHttpAdapter(foundations, logger);
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.of(foundations), adapter, {
    logger: new NestLogger(logger),
    bodyParser: false,
    abortOnError: false,
  });
  const metrics = app.get(Metrics);
  const refusals = app.get(RefusalRecorder);
  adapter.getInstance<FastifyInstance>().addHook('onResponse', (request, reply, done) => {
    metrics.observeRequest(
      `${request.method} ${request.routeOptions.url ?? 'none'}`,
      reply.statusCode,
      reply.elapsedTime,
    );
    const refusal = refusalOf(request);
    if (refusal !== null) refusals.record(refusal);
    done();
  });
  const description = describe(app, VERSION);
  SwaggerModule.setup('docs', app, description, {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: 'openapi.yaml',
    // Otherwise it asks a validator on the internet about the description.
    swaggerOptions: { validatorUrl: null },
  });
  await app.init();
  return app;
}
