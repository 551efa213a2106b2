import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_PIPE } from '@nestjs/core';
import { AuditController } from './audit/audit.controller.js';
import { AuditService } from './audit/audit.service.js';
import { RefusalRecorder } from './audit/refusal-recorder.js';
import { ConsumerGroupDirectory } from './consumer-groups/consumer-group-directory.js';
import { ConsumerGroupsController } from './consumer-groups/consumer-groups.controller.js';
import { ConsumerGroupsService } from './consumer-groups/consumer-groups.service.js';
import { CONFIGURATION, type Configuration } from './config/environment.js';
import { PublicEndpoint } from './config/public-endpoint.js';
import { DeadLettersController } from './dead-letters/dead-letters.controller.js';
import { DeadLettersService } from './dead-letters/dead-letters.service.js';
import { AuditFunctions } from './database/audit-functions.js';
import { Database } from './database/database.js';
import { ConsumerGroupFunctions } from './database/consumer-group-functions.js';
import { RedriveBatches } from './dead-letters/redrive-batches.js';
import { EncryptionFunctions } from './database/encryption-functions.js';
import { IdentityAdminFunctions } from './database/identity-admin-functions.js';
import { LimitFunctions } from './database/limit-functions.js';
import { DeadLetterFunctions } from './database/dead-letter-functions.js';
import { MaintenanceFunctions } from './database/maintenance-functions.js';
import { MessageFunctions } from './database/message-functions.js';
import { PutFunctions } from './database/put-functions.js';
import { Notifications } from './database/notifications.js';
import { PeekFunctions } from './database/peek-functions.js';
import { RedriveFunctions } from './database/redrive-functions.js';
import { PolicyFunctions } from './database/policy-functions.js';
import { QueueFunctions } from './database/queue-functions.js';
import { StompFunctions } from './database/stomp-functions.js';
import { TransactionFunctions } from './database/transaction-functions.js';
import { ExportController } from './dead-letters/export.controller.js';
import { ExportService } from './dead-letters/export.service.js';
import { DataKeys } from './encryption/data-keys.js';
import { KeyMaintenance } from './encryption/key-maintenance.js';
import { MasterKeys } from './encryption/master-keys.js';
import { SealedMessages } from './encryption/sealed-messages.js';
import { TokenSeal } from './encryption/token-seal.js';
import { ErrorFilter } from './errors/error.filter.js';
import { FairTurns } from './fairness/fair-turns.js';
import { AuthenticationGuard } from './identity/authentication.guard.js';
import { IdentityModule } from './identity/identity.module.js';
import { CallerConnections } from './limits/caller-connections.js';
import { Revocations } from './identity/revocations.js';
import { CompartmentsController } from './identity-admin/compartments.controller.js';
import { CredentialsController } from './identity-admin/credentials.controller.js';
import { CredentialsService } from './identity-admin/credentials.service.js';
import { GroupsController } from './identity-admin/groups.controller.js';
import { IdentityService } from './identity-admin/identity.service.js';
import { UsersController } from './identity-admin/users.controller.js';
import { LivePods } from './limits/live-pods.js';
import { RateLimits } from './limits/rate-limits.js';
import { Refusals } from './limits/refusals.js';
import { StorageLimit } from './limits/storage-limit.js';
import { MemoryBudget } from './memory/memory-budget.js';
import { MaintenanceService } from './maintenance/maintenance.service.js';
import { ChannelTurns } from './messages/channel-turns.js';
import { Floors } from './messages/floors/floors.js';
import { ContentsController } from './messages/contents.controller.js';
import { ContentsService } from './messages/contents.service.js';
import { DeliveriesService } from './messages/deliveries.service.js';
import { GetsService } from './messages/gets.service.js';
import { InFlightGate } from './messages/in-flight-gate.js';
import { MergeCounts } from './messages/merging/merge-counts.js';
import { MergedMessages } from './messages/merging/merged-messages.js';
import { MessageRanges } from './messages/message-ranges.js';
import { MessagesController } from './messages/messages.controller.js';
import { PutsService } from './messages/puts.service.js';
import { PeekController } from './messages/peek.controller.js';
import { PeekService } from './messages/peek.service.js';
import { Receipts } from './messages/receipts.js';
import { TransactionsService } from './messages/transactions.service.js';
import { WaitingRooms } from './messages/waiting/waiting-rooms.js';
import { WakeUps } from './messages/waiting/wake-ups.js';
import { HealthController } from './operations/health.controller.js';
import { MetricsController } from './operations/metrics.controller.js';
import { Metrics } from './operations/metrics.js';
import { Readiness } from './operations/readiness.js';
import { Access } from './policies/access.js';
import { TenancyPermissionGuard } from './policies/tenancy-permission.guard.js';
import { PoliciesController } from './policies/policies.controller.js';
import { PoliciesService } from './policies/policies.service.js';
import { QueueDirectory } from './queues/queue-directory.js';
import { QueuesController } from './queues/queues.controller.js';
import { QueuesService } from './queues/queues.service.js';
import { CallerLimitsGuard } from './rest/caller-limits.guard.js';
import { ContractPipe } from './rest/contract.pipe.js';
import { JsonLines } from './rest/json-lines.js';
import { Connections } from './rest/connections.js';
import { PageTokens } from './rest/page-token.js';
import { SessionReports } from './stomp-sessions/session-reports.js';
import { StompSessionsController } from './stomp-sessions/stomp-sessions.controller.js';
import { StompSessionsService } from './stomp-sessions/stomp-sessions.service.js';
import { StompFigures } from './stomp/stomp-figures.js';
import { StompGateway } from './stomp/stomp-gateway.js';
import { SERVER_CERTIFICATE, type ServerCertificate } from './tls/server-certificate.js';
import { WorkRequestRunner } from './work-requests/work-request-runner.js';
import { WorkRequestsController } from './work-requests/work-requests.controller.js';
import { WorkRequestsService } from './work-requests/work-requests.service.js';

/** What exists before the application: it is made, and closed last, by whoever builds the application. */
export interface Foundations {
  readonly configuration: Configuration;
  readonly database: Database;
  readonly notifications: Notifications;
  readonly seal: TokenSeal;
  readonly memory: MemoryBudget;
  readonly connections: Connections;
  readonly turns: FairTurns;
  /** Null: the pod speaks no TLS. */
  readonly certificate: ServerCertificate | null;
  readonly masterKeys: MasterKeys;
}

@Module({})
class FoundationsModule {
  static of(foundations: Foundations): DynamicModule {
    const { configuration, database, notifications, seal, memory, connections, turns, certificate, masterKeys } =
      foundations;
    const providers = [
      { provide: CONFIGURATION, useValue: configuration },
      { provide: Database, useValue: database },
      { provide: Notifications, useValue: notifications },
      { provide: TokenSeal, useValue: seal },
      { provide: MemoryBudget, useValue: memory },
      { provide: Connections, useValue: connections },
      { provide: FairTurns, useValue: turns },
      { provide: SERVER_CERTIFICATE, useValue: certificate },
      { provide: MasterKeys, useValue: masterKeys },
      PublicEndpoint,
      QueueFunctions,
      ConsumerGroupFunctions,
      ConsumerGroupDirectory,
      MessageFunctions,
      PutFunctions,
      TransactionFunctions,
      PeekFunctions,
      DeadLetterFunctions,
      RedriveFunctions,
      MaintenanceFunctions,
      LimitFunctions,
      AuditFunctions,
      EncryptionFunctions,
      IdentityAdminFunctions,
      PolicyFunctions,
      StompFunctions,
      Access,
      QueueDirectory,
      WakeUps,
      PageTokens,
    ];
    return { module: FoundationsModule, global: true, providers, exports: providers };
  }
}

@Module({})
export class AppModule {
  static of(foundations: Foundations): DynamicModule {
    return {
      module: AppModule,
      imports: [FoundationsModule.of(foundations), IdentityModule],
      controllers: [
        QueuesController,
        ConsumerGroupsController,
        WorkRequestsController,
        MessagesController,
        ContentsController,
        PeekController,
        ExportController,
        DeadLettersController,
        AuditController,
        CompartmentsController,
        UsersController,
        CredentialsController,
        GroupsController,
        PoliciesController,
        StompSessionsController,
        HealthController,
        MetricsController,
      ],
      providers: [
        { provide: APP_GUARD, useExisting: AuthenticationGuard },
        { provide: APP_GUARD, useClass: CallerLimitsGuard },
        { provide: APP_GUARD, useClass: TenancyPermissionGuard },
        { provide: APP_PIPE, useClass: ContractPipe },
        { provide: APP_FILTER, useClass: ErrorFilter },
        QueuesService,
        ConsumerGroupsService,
        MessageRanges,
        WorkRequestsService,
        WorkRequestRunner,
        RedriveBatches,
        MergeCounts,
        MergedMessages,
        PutsService,
        GetsService,
        DeliveriesService,
        TransactionsService,
        ContentsService,
        PeekService,
        ExportService,
        DeadLettersService,
        AuditService,
        RefusalRecorder,
        JsonLines,
        IdentityService,
        CredentialsService,
        Revocations,
        PoliciesService,
        Receipts,
        ChannelTurns,
        Floors,
        InFlightGate,
        WaitingRooms,
        LivePods,
        Refusals,
        CallerConnections,
        RateLimits,
        StorageLimit,
        DataKeys,
        SealedMessages,
        KeyMaintenance,
        MaintenanceService,
        StompFigures,
        StompGateway,
        SessionReports,
        StompSessionsService,
        Readiness,
        Metrics,
      ],
    };
  }
}
