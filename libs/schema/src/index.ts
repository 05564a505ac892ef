export { activationSchema } from './activation.js';
export type { Activation } from './activation.js';
export {
  approvalNameBytesMax,
  approvalOfSignal,
  approvalSignal,
  isReservedSignal,
  verdictSchema,
} from './approval.js';
export type { ApprovalDecision, Verdict } from './approval.js';
export {
  auditActorKinds,
  auditDetailsText,
  auditedFields,
  auditEntrySchema,
  auditEntryText,
  auditGenesis,
  auditHash,
  auditOutcomes,
  auditPageSchema,
  auditQuerySchema,
  auditVerdictSchema,
  checkAuditEnd,
  checkAuditEntries,
  noAuditEntries,
} from './audit.js';
export type {
  AuditActorKind,
  AuditEntry,
  AuditOutcome,
  AuditPage,
  AuditQuery,
  AuditVerdict,
} from './audit.js';
export {
  backupManifestFile,
  backupManifestSchema,
  isBucket,
  isTransport,
  streamConfigurationSchema,
} from './backup.js';
export type { BackupManifest, StreamBackup, StreamConfiguration } from './backup.js';
export {
  circuitId,
  circuitKey,
  circuitKeysOf,
  circuitOverridesSchema,
  circuitStateSchema,
  defaultCircuitPolicy,
  workerEndpoint,
} from './circuit-breaker.js';
export type { CircuitOverrides, CircuitPolicy, CircuitState, ForcedOpen } from './circuit-breaker.js';
export {
  admit,
  closedCircuit,
  foldOutcomes,
  forcedOpen,
  forcedRemaining,
  isWindowRunning,
  withoutProbe,
  withProbeSeen,
} from './circuit-machine.js';
export type { Admission, CircuitOutcome, CircuitParts } from './circuit-machine.js';
export {
  deadLetterMessage,
  deadLetterOf,
  deadLetterReasons,
  deadLetterSchema,
  storedLetterReasons,
} from './dead-letter.js';
export type { DeadLetter, DeadLetterCause, LostMessage } from './dead-letter.js';
export {
  emittedEventSchema,
  eventDataSchema,
  eventSources,
  ingestMessageSchema,
  storedEventSchema,
  systemEventNames,
} from './event.js';
export {
  brokenDataRule,
  brokenFieldRule,
  brokenTextRule,
  brokenTimeRule,
  dataDepthMax,
  dataTooDeep,
  isHeaderText,
} from './event-rules.js';
export type { BrokenRule } from './event-rules.js';
export type { EmittedEvent, EventSource, FunctionEvent, IngestMessage, StoredEvent } from './event.js';
export { failureSchema } from './failure.js';
export type { Failure } from './failure.js';
export { backlogPath, executorBacklogSchema } from './executor-backlog.js';
export type { ExecutorBacklog } from './executor-backlog.js';
export { expressionSchema } from './expression.js';
export {
  concurrencySchema,
  debounceSchema,
  debounceStateSchema,
  flowKeysSchema,
  flowRules,
  flowRuleSchema,
  limitKeys,
  rateSchema,
} from './flow-control.js';
export type {
  Batch,
  Concurrency,
  Debounce,
  DebounceState,
  FlowControl,
  FlowKeys,
  FlowRule,
  Rate,
  Singleton,
} from './flow-control.js';
export {
  concurrencySlotPrefix,
  parseObstacle,
  parseSlot,
  pausedObstacle,
  singletonSlotPrefix,
  workerObstacle,
} from './flow-slots.js';
export type { Obstacle, Slot } from './flow-slots.js';
export {
  appManifestSchema,
  cancelOnSchema,
  eventTriggerSchema,
  functionConfigSchema,
  isCronTrigger,
  retryPolicySchema,
  functionTimeoutMsDefault,
  functionTimeoutMsSchema,
  startDeadlineMsSchema,
  stepTimeoutMsSchema,
  triggerSchema,
} from './function.js';
export type {
  AppManifest,
  CancelOn,
  EventTrigger,
  FunctionConfig,
  RegisteredApp,
  ArchivedFunction,
  RegisteredFunction,
  Registry,
  Trigger,
} from './function.js';
export { canRead, headerNames, journalSchemaVersion, schemaMajor, schemaVersion } from './headers.js';
export {
  appIdSchema,
  buildIdSchema,
  emittedEventNameSchema,
  eventNameSchema,
  eventPatternSchema,
  functionIdSchema,
  idLengthMax,
  matchesEventPattern,
  reservedEventPrefix,
  scopeSchema,
  slugSchema,
  uuidSchema,
} from './identifiers.js';
export type { Scope } from './identifiers.js';
export {
  createId,
  deriveFiringEventId,
  deriveIngestedEventId,
  deriveLogLineId,
  deriveReplayEventId,
  deriveRunId,
  idTimeMs,
  lowestIdAt,
} from './ids.js';
export {
  callOutcomeSchema,
  compareWriters,
  journalEntrySchema,
  journalMessageSchema,
  notCompensatedSchema,
  isBeginning,
  outputClaimOf,
  runEntrySchema,
  writerSchema,
} from './journal.js';
export type {
  Pin,
  CallOutcome,
  EndingRunEntry,
  JournalEntry,
  JournalMessage,
  NotCompensated,
  RunEntry,
  StopOutcome,
  Writer,
} from './journal.js';
export { describeIssue } from './issue.js';
export { laneToken, parseLane } from './lane.js';
export type { Lane } from './lane.js';
export { keyRoles, keyScopes, keyScopeSchema, mayGrant, roleAllows, scopesAllow } from './key-access.js';
export type {
  ApiKey,
  CreatedKey,
  CreatedOperatorKey,
  CreatedSigningKey,
  CreateKeyBody,
  CreateOperatorKeyBody,
  NewKey,
  OperatorKey,
  RotateKeyBody,
  SigningKeyResource,
} from './key-resources.js';
export type { KeyGrant, KeyRole, KeyScope, NeededAccess } from './key-access.js';
export { limits } from './limits.js';
export { matchValueAt } from './match.js';
export type { MatchValue } from './match.js';
export { mergeMismatch, mismatchKinds, mismatchSchema } from './mismatch.js';
export type { Mismatch, MismatchedStep } from './mismatch.js';
export {
  accessNoticeSchema,
  circuitNoticeSchema,
  configNoticeSchema,
  eventRoutedNoticeSchema,
  eventScheduledNoticeSchema,
  runNoticeSchema,
  bulkNoticeSchema,
  quotasNoticeSchema,
  slotsNoticeSchema,
  stopNoticeSchema,
  waitsNoticeSchema,
} from './notice.js';
export type {
  AccessNotice,
  CircuitNotice,
  ConfigNotice,
  EventRoutedNotice,
  EventScheduledNotice,
  RunNotice,
  BulkNotice,
  QuotasNotice,
  SlotsNotice,
  StopNotice,
  WaitsNotice,
} from './notice.js';
export {
  deliveredEventSchema,
  executorMessageSchema,
  invocationSchema,
  outcomeSchema,
  declineReasons,
  isInvocationVersion,
  protocolVersion,
  stoppingVersion,
  pushAnswerSchema,
  signatureHeaders,
  signatureToleranceSeconds,
  workerMessageSchema,
  workerPath,
} from './protocol.js';
export type {
  DeliveredEvent,
  ExecutorMessage,
  Invocation,
  Outcome,
  PushAnswer,
  WorkerMessage,
} from './protocol.js';
export { defaultQuotas, quotaBurstSeconds, quotaNames, quotasSchema, setQuotasBodySchema } from './quotas.js';
export type { QuotaName, Quotas, QuotasResource, SetQuotasBody } from './quotas.js';
export { retentionDays, retentionSchema, setRetentionBodySchema } from './retention.js';
export type { RetentionResource, SetRetentionBody } from './retention.js';
export { askRate } from './rate.js';
export type { RateVerdict } from './rate.js';
export {
  appSchema,
  backfillAnswerSchema,
  backfillBodySchema,
  breakerSchema,
  breakersListSchema,
  breakersQuerySchema,
  bulkAnswerSchema,
  deadLetterDetailSchema,
  deadLettersPageSchema,
  deadLettersQuerySchema,
  deadLetterSummarySchema,
  discardAnswerSchema,
  emitAnswerSchema,
  emitBodySchema,
  environmentSchema,
  errorBodySchema,
  eventDetailSchema,
  eventSchema,
  eventsPageSchema,
  eventsQuerySchema,
  functionSchema,
  invokeBodySchema,
  messageIdSchema,
  publishAnswerSchema,
  publishBodySchema,
  queueSchema,
  queueSummarySchema,
  topicMessageSchema,
  cancelRunsAnswerSchema,
  cancelRunsBodySchema,
  signalAnswerSchema,
  signalBodySchema,
  registerAnswerSchema,
  replayAnswerSchema,
  replayEventsBodySchema,
  replayLettersBodySchema,
  rerunAnswerSchema,
  rerunBodySchema,
  rerunRunsBodySchema,
  runDetailSchema,
  runResultSchema,
  runSchema,
  runsPageSchema,
  runsQuerySchema,
  scheduledEventsPageSchema,
  scheduleSchema,
  schedulesPageSchema,
  stepSchema,
  waitSchema,
} from './resources.js';
export type {
  App,
  BackfillAnswer,
  BackfillBody,
  CancelScheduledEventAnswer,
  Schedule,
  ScheduledEvent,
  ScheduledEventsPage,
  ScheduledEventsQuery,
  SchedulesPage,
  SchedulesQuery,
  Breaker,
  BreakersQuery,
  BulkAnswer,
  DeadLetterDetail,
  DeadLettersPage,
  DeadLettersQuery,
  DeadLetterSummary,
  DiscardAnswer,
  EmitAnswer,
  EnvironmentResource,
  Event,
  EventDetail,
  EventsPage,
  EventsQuery,
  SetFunctionLimitsBody,
  FunctionResource,
  RegisterAnswer,
  ReplayAnswer,
  ReplayEventsBody,
  ReplayLettersBody,
  PublishAnswer,
  Queue,
  QueueSummary,
  RerunAnswer,
  RerunBody,
  RerunRunsBody,
  Run,
  RunDetail,
  RunResult,
  RunsPage,
  RunsQuery,
  CancelRunsAnswer,
  CancelRunsBody,
  ApprovalLinkAnswer,
  DecideAnswer,
  SignalAnswer,
  TopicMessage,
  Step,
  WaitingFor,
} from './resources.js';
export {
  appsListSchema,
  emitQuerySchema,
  functionsListSchema,
  identitySchema,
  queuesListSchema,
  routes,
  runUpdateSchema,
} from './routes.js';
export type { EmitQuery, Identity, QueuesList, Route, RunUpdate } from './routes.js';
export { levelsFrom, loggedLineSchema, logLevels, runLogsPageSchema, runLogsQuerySchema } from './run-log.js';
export type { LoggedLine, LogLevel, RunLogLine, RunLogsPage, RunLogsQuery } from './run-log.js';
export { isTerminal, runStatusSchema, runStatuses, startDeadline } from './run.js';
export type { RunStatus } from './run.js';
export {
  catchUpMsDefault,
  cronTriggerSchema,
  firingCauses,
  firingDataSchema,
  overlapSchema,
  scheduleIdOf,
  scheduleIdSchema,
} from './schedule.js';
export type { CronTrigger, FiringCause, FiringData, Overlap } from './schedule.js';
export { answerIdOf, sign, signingKeyPrefix, verifySignature } from './signature.js';
export type { SignatureCheck, SignedMessage } from './signature.js';
export {
  awaitedSchema,
  completedStepSchema,
  failedStepSchema,
  isProgress,
  journaledStepSchema,
  memoizedStepSchema,
  outputClaimSchema,
  retryingStepSchema,
  signalNameSchema,
  stepIdSchema,
  stepRecordSchema,
  stepStatuses,
  stepTypes,
  waitingStepSchema,
} from './step.js';
export type {
  Awaited,
  JournaledStep,
  MemoizedStep,
  OutputClaim,
  StepRecord,
  StepStatus,
  StepType,
} from './step.js';
export {
  ackWaitMs,
  buckets,
  consumerKindOf,
  consumers,
  idleLaneKeptMs,
  bulkConsumer,
  parsePullConsumer,
  natsVersionMinimum,
  placesOfEnvironment,
  pullConsumer,
  resultsTrim,
  storageProbe,
  streams,
  userBucketName,
} from './streams.js';
export type {
  BucketDefinition,
  BucketName,
  ConsumerDefinition,
  StreamDefinition,
  StreamName,
} from './streams.js';
export { circuitChanges, parseSubject, runNoticeKinds, subjectFilters, subjects } from './subjects.js';
export type { CircuitChange, ParsedSubject, RunMode, RunNoticeKind } from './subjects.js';
export { tenantStates } from './tenant-resources.js';
export type {
  CreatedTenant,
  CreateTenantBody,
  DeleteTenantQuery,
  NewTenant,
  ProjectResource,
  Tenant,
  TenantsPage,
  TenantsQuery,
  TenantState,
} from './tenant-resources.js';
export { formatTraceparent, messagingAttributes, parseTraceparent, runSpanId } from './trace.js';
export type { TraceContext } from './trace.js';
export {
  deliveryStatuses,
  eventPrefixOf,
  formatWebhookSecret,
  webhookEventName,
  webhookIdSchema,
  webhookKey,
  webhookProviderIds,
  webhookProviders,
  webhookRefusals,
  webhookSchemeSchema,
} from './webhook.js';
export type {
  DeliveryStatus,
  WebhookPlace,
  WebhookProvider,
  WebhookProviderId,
  WebhookRefusal,
  WebhookScheme,
  WebhookStatus,
} from './webhook.js';
export type {
  CreateWebhookBody,
  DeletedWebhook,
  DeliveriesPage,
  DeliveriesQuery,
  Delivery,
  NewWebhook,
  ReceivedAnswer,
  RotateWebhookBody,
  Webhook,
  WebhookWithSecret,
} from './webhook-resources.js';
export { workerPresenceKey, workerPresenceSchema } from './worker-presence.js';
export type { WorkerPresence } from './worker-presence.js';
export {
  createCredentialBodySchema,
  createdCredentialSchema,
  credentialSchema,
  credentialsListSchema,
  credentialStatuses,
} from './credential-resources.js';
export type { CreateCredentialBody, CreatedCredential, Credential } from './credential-resources.js';
export { exportedTables, exportedTableSchema, exportPageSchema, exportQuerySchema } from './export.js';
export type { ExportedTable, ExportPage, ExportQuery } from './export.js';
export { settingsSchema } from './settings.js';
export type { FunctionSettings, Settings, WebhookSettings } from './settings.js';
export { secretNameSchema } from './secret-resources.js';
export type {
  DeletedSecret,
  RotatedDataKey,
  Secret,
  SecretValues,
  SecretValuesBody,
  SetSecretBody,
} from './secret-resources.js';
export { configNameSchema } from './config-resources.js';
export type {
  ConfigDocument,
  ConfigSummary,
  ConfigUpdate,
  DeletedConfig,
  PutConfigBody,
} from './config-resources.js';
export { kvBucketNameSchema, kvKeySchema } from './kv-resources.js';
export type {
  DeletedKvBucket,
  KvBucket,
  KvChange,
  KvEntry,
  KvKeysPage,
  KvKeysQuery,
  PutKvBucketBody,
  PutKvKeyBody,
  StoredKvKey,
} from './kv-resources.js';
