export { createApiKeyStore } from './api-keys.js';
export type { ApiKeyStore, RevocationOutcome, RotationOutcome } from './api-keys.js';
export type { RotationRefusal } from './key-rules.js';
export { createApiStore } from './api.js';
export { createApprovalStore } from './approvals.js';
export type { ApprovalState, ApprovalStore, DecisionOutcome, FoundApproval } from './approvals.js';
export type { ApiStore } from './api.js';
export { createAuditStore } from './audit.js';
export type { AuditStore, NewAuditEntry } from './audit.js';
export { createAuthenticator, recordKeyUse } from './authentication.js';
export type {
  Authenticator,
  AuthenticatorOptions,
  Principal,
  RememberingAuthenticator,
} from './authentication.js';
export type { FoundLetter } from './bulk-replays.js';
export type { EventToReplay, FoundRun } from './bulk-reruns.js';
export { claimFor, runStep } from './claimed-outputs.js';
export type { ClaimKey, OutputToClaim } from './claimed-outputs.js';
export { createConfigStore } from './config-documents.js';
export type { ConfigStore } from './config-documents.js';
export { createCronStore } from './cron.js';
export type { CronStore, DueTime, FiredTime, Schedule, ScheduleKey } from './cron.js';
export { createDatabase } from './database.js';
export { isRefusedData } from './database-error.js';
export type { DeadLetterToReplay } from './dead-letters.js';
export type { Database, DatabaseOptions, PoolState, Queryable, Statement } from './database.js';
export type { EndedPause } from './ended-pause.js';
export { createEnvelope } from './envelope.js';
export type { Peppers, SealedDataKey, Secrets } from './envelope.js';
export { createPlaceReader } from './environment-scope.js';
export type { TenantPlaceReader } from './environment-scope.js';
export { createErasureStore } from './erasure.js';
export { createExportStore } from './export.js';
export type { ExportStore } from './export.js';
export type { ErasureStore } from './erasure.js';
export { openEnvelope } from './platform-keys.js';
export { rewrapKeys } from './rewrap.js';
export type { RewrapResult } from './rewrap.js';
export type { SecretPlace } from './sealing.js';
export { createExecutorStore } from './executor.js';
export type { ExecutorStore, RunState } from './executor.js';
export { createForcedBreakerList, createForcedBreakerStore } from './forced-breakers.js';
export type { ForcedBreaker, ForcedBreakerList, ForcedBreakerStore } from './forced-breakers.js';
export { createIngestStore } from './ingest.js';
export type { EventRuns, IngestStore, NewEvent, StoredEventReceipt } from './ingest.js';
export {
  createApiKey,
  createOperatorKey,
  hashApiKey,
  hashOperatorKey,
  parseApiKey,
  parseOperatorKey,
} from './keys.js';
export type { ParsedApiKey } from './keys.js';
export { inspectPostgres } from './inspection.js';
export type { PostgresFacts, PostgresInspection, PostgresInspectionOptions } from './inspection.js';
export { createKvBucketStore } from './kv-buckets.js';
export type { KvBucketStore } from './kv-buckets.js';
export { checkMasterKeys } from './master-key-check.js';
export type { MasterKeyCheck } from './master-key-check.js';
export { migrate } from './migrate.js';
export type { MigrateOptions } from './migrate.js';
export type { EnvironmentPath } from './onboarding.js';
export { describeDatabaseError, requireDatabaseUrl } from './named-database.js';
export { createOperatorKeyStore, generateOperatorKey } from './operator-keys.js';
export type { OperatorKeyStore } from './operator-keys.js';
export { ensurePartitions } from './partitions.js';
export { createRetentionMonths, monthReasons } from './retention-months.js';
export type { KeptMonth, MonthReason, RetentionMonths, StoredMonth } from './retention-months.js';
export { createRetentionRows } from './retention-rows.js';
export type { RemovedRows, RetentionRows, RowsQuery } from './retention-rows.js';
export { createRetentionSettings, listRetention } from './retention-settings.js';
export type { EnvironmentRetention, RetentionSettings } from './retention-settings.js';
export { createQuotaStore, measureStorage } from './quotas.js';
export type { QuotaStore, QuotaUse } from './quotas.js';
export {
  createRegistryReader,
  listEnvironments,
  registerApp,
  setFunctionLimits,
  setPaused,
} from './registry.js';
export type { FunctionLimits, Pause, Registration, RegistryReader } from './registry.js';
export { createCollectorStore } from './result-collector.js';
export type { AcceptedRun, CollectorStore, RunProgress } from './result-collector.js';
export type { RunToRepeat } from './reruns.js';
export type { NewLogLine } from './run-logs.js';
export { serviceUrl } from './roles.js';
export type { ServicePasswords, ServiceRole } from './roles.js';
export type { RunToActivate } from './run-to-activate.js';
export type { EventToRoute, FlowArrival, NewRun, RoutingOutcome } from './routing.js';
export { createFlowStore } from './flow-control.js';
export type {
  FlowDue,
  FlowEntry,
  FlowHolder,
  FlowLane,
  FlowPass,
  FlowState,
  FlowStateKey,
  FlowStore,
  FlowWrites,
  LaneContent,
} from './flow-control.js';
export { createSchedulerStore } from './scheduler.js';
export type { LaneRef, OverdueRun, OverdueRunsQuery, SchedulerStore } from './scheduler.js';
export { createSecretStore } from './secret-store.js';
export type { SecretStore } from './secret-store.js';
export { createScheduleStore } from './schedules.js';
export type { ScheduleRecord, ScheduleStore } from './schedules.js';
export { checkSchemaVersion } from './schema-version.js';
export type { RunsToCancelQuery, RunToCancel, StoppedRun, StoppingRun } from './stopping-runs.js';
export { createTenantStore } from './tenants.js';
export type { EnvironmentCredentials, TenantStore } from './tenants.js';
export { createSigningKeyStore } from './signing-keys.js';
export type { SigningKeyStore } from './signing-keys.js';
export { createTenantAdmin } from './tenant-admin.js';
export type { TenantAdmin, TenantChange, TenantOutcome, TenantPlace } from './tenant-admin.js';
export type { EndedRun, OpenWait } from './open-wait.js';
export { recordDeliveries } from './webhook-deliveries.js';
export type { NewDelivery } from './webhook-deliveries.js';
export { createWebhookStore, findWebhookSources } from './webhooks.js';
export type { WebhookSource, WebhookStore } from './webhooks.js';
export type {
  EventsForWaitQuery,
  EventsToMatchQuery,
  KeptSignal,
  Resolution,
  ResolvedWaits,
  WaitsForEventQuery,
  WaitStore,
} from './waits.js';
export {
  createNatsAccountStore,
  findNatsAccount,
  listNatsAccountKeys,
  listNatsAccounts,
  retellNatsAccount,
} from './nats-accounts.js';
export type { NatsAccount, NatsAccountStore, NatsCredentialRequest } from './nats-accounts.js';
