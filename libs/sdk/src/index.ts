/** The public interface of @ironflow/sdk. Later versions only add to it. */
export { createFunction } from './function.js';
export type { EventToEmit } from './event-to-emit.js';
export type {
  CronTriggerOptions,
  CircuitBreakerOptions,
  EventSchema,
  FailureContext,
  FunctionOptions,
  HandlerContext,
  IronflowFunction,
  Retries,
  RunInfo,
  TriggerOptions,
  TypedEvent,
} from './function.js';
export type {
  ApprovalDecision,
  ApprovalRequest,
  ApproveOptions,
  Branch,
  InvokeStepOptions,
  MapContext,
  MapOptions,
  ParallelMode,
  ParallelOptions,
  PublishOptions,
  SentEvents,
  SettledReason,
  SettledResult,
  StepContext,
  StepOptions,
  StepTools,
  WaitForEventOptions,
  WaitForSignalOptions,
} from './step-tools.js';
export type { Duration } from './duration.js';
export type {
  BatchOptions,
  ConcurrencyOptions,
  DebounceOptions,
  FlowControlOptions,
  RateOptions,
  SingletonOptions,
} from './flow-control.js';
export type { Jsonified } from './output.js';
export type { Log, LogLevel, LogLine, Logger } from './logger.js';
export { NonRetryableError, NondeterminismError, RetryAfterError, StepError } from './function-errors.js';
export { ConfigurationError } from './configuration-error.js';
export { OutputError } from './output.js';
export { serve } from './push/serve.js';
export type { ServeHandler, ServeOptions } from './push/serve.js';
export type { NodeRequest, NodeResponse } from './push/node-adapter.js';
export { createWorker } from './worker/worker.js';
export type { StopResult, Worker, WorkerOptions } from './worker/worker.js';
export { createClient } from './client/client.js';
export type { Audit } from './client/audit.js';
export type { BreakersList } from './client/breakers.js';
export type { Client, InvokeArguments, InvokeOptions, RerunOptions, WaitOptions } from './client/client.js';
export type {
  BulkOptions,
  BulkResult,
  CancelFilter,
  DeadLetterFilter,
  ReplayFilter,
  RerunFilter,
} from './client/bulk.js';
export type { Config } from './client/config.js';
export type { FollowLogsOptions } from './client/run-logs.js';
export type { Exports } from './client/export.js';
export type { Kv, KvBucketOptions } from './client/kv.js';
export type { Secrets } from './client/secrets.js';
export type { HandlerConfig, HandlerSecrets } from './settings.js';
export type { BackfillOptions, BackfillRange, BackfillResult, Schedules } from './client/schedules.js';
export type { Keys, OverlapOptions, RotateKeyOptions, SigningKeys } from './client/keys.js';
export { createOperatorClient } from './client/operator-client.js';
export type {
  OperatorClient,
  OperatorOptions,
  TenantCredentials,
  TenantPath,
} from './client/operator-client.js';
export type { CreatedWebhook, RotateOptions, WebhookSource, Webhooks } from './client/webhooks.js';
export type { QuotasClient } from './client/quotas.js';
export type { RetentionClient } from './client/retention.js';
export type { Credentials, NewCredential } from './client/credentials.js';
export { IronflowApiError } from './client/api-error.js';
export type { AppOptions } from './app.js';
export type { PlatformOptions } from './environment.js';
export type {
  ApiKey,
  App,
  AppManifest,
  AuditEntry,
  AuditPage,
  AuditQuery,
  AuditVerdict,
  Breaker,
  BreakersQuery,
  CreatedKey,
  CreatedOperatorKey,
  CreatedSigningKey,
  CreatedCredential,
  Credential,
  ConfigDocument,
  ConfigSummary,
  ConfigUpdate,
  DeadLetterDetail,
  DeadLettersPage,
  DeadLettersQuery,
  DeadLetterSummary,
  DeliveriesPage,
  DeliveriesQuery,
  Delivery,
  DiscardAnswer,
  EmitAnswer,
  EmittedEvent,
  EnvironmentResource,
  Event,
  EventDetail,
  EventsPage,
  EventsQuery,
  ExportedTable,
  ExportPage,
  ExportQuery,
  Failure,
  FunctionConfig,
  FunctionResource,
  Identity,
  NewKey,
  NewTenant,
  KvBucket,
  KvChange,
  KvEntry,
  KvKeysPage,
  NewWebhook,
  OperatorKey,
  ProjectResource,
  NotCompensated,
  PublishAnswer,
  Queue,
  QueuesList,
  QuotasResource,
  QueueSummary,
  RegisterAnswer,
  ReplayAnswer,
  RerunAnswer,
  RetentionResource,
  Run,
  RunDetail,
  RunLogLine,
  RunLogsPage,
  RunLogsQuery,
  RunResult,
  RunsPage,
  RunsQuery,
  RunStatus,
  RunUpdate,
  SetFunctionLimitsBody,
  SetQuotasBody,
  FiringData,
  Overlap,
  Schedule,
  ScheduledEvent,
  ScheduledEventsPage,
  SchedulesPage,
  Secret,
  SignalAnswer,
  SigningKeyResource,
  Step,
  Tenant,
  TenantsPage,
  TenantsQuery,
  TopicMessage,
  WaitingFor,
} from '@ironflow/schema';
