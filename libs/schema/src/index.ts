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
export type { EmittedEvent, EventSource, FunctionEvent, IngestMessage, StoredEvent } from './event.js';
export { failureSchema } from './failure.js';
export type { Failure } from './failure.js';
export { expressionSchema } from './expression.js';
export { flowKeysSchema, flowRules, flowRuleSchema } from './flow-control.js';
export type {
  Batch,
  Concurrency,
  Debounce,
  FlowControl,
  FlowKeys,
  FlowRule,
  Rate,
  Singleton,
} from './flow-control.js';
export {
  appManifestSchema,
  cancelOnSchema,
  cronTriggerSchema,
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
  CronTrigger,
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
export { limits } from './limits.js';
export { matchValueAt } from './match.js';
export type { MatchValue } from './match.js';
export { mergeMismatch, mismatchKinds, mismatchSchema } from './mismatch.js';
export type { Mismatch, MismatchedStep } from './mismatch.js';
export {
  circuitNoticeSchema,
  eventRoutedNoticeSchema,
  runNoticeSchema,
  slotsNoticeSchema,
  stopNoticeSchema,
  waitsNoticeSchema,
} from './notice.js';
export type {
  CircuitNotice,
  EventRoutedNotice,
  RunNotice,
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
export {
  appSchema,
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
  stepSchema,
  waitSchema,
} from './resources.js';
export type {
  App,
  Breaker,
  BreakersQuery,
  BulkAnswer,
  DeadLetterDetail,
  DeadLettersPage,
  DeadLettersQuery,
  DeadLetterSummary,
  DiscardAnswer,
  EmitAnswer,
  Event,
  EventDetail,
  EventsPage,
  EventsQuery,
  FunctionResource,
  RegisterAnswer,
  ReplayAnswer,
  ReplayEventsBody,
  ReplayLettersBody,
  PublishAnswer,
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
} from './resources.js';
export {
  appsListSchema,
  emitQuerySchema,
  functionsListSchema,
  identitySchema,
  keyRoles,
  roleAllows,
  routes,
  runUpdateSchema,
} from './routes.js';
export type { EmitQuery, Identity, KeyRole, Route, RunUpdate } from './routes.js';
export { isTerminal, runStatusSchema, runStatuses, startDeadline } from './run.js';
export type { RunStatus } from './run.js';
export { sign, signingKeyPrefix, verifySignature } from './signature.js';
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
  consumers,
  idleLaneKeptMs,
  pullConsumer,
  resultsTrim,
  streams,
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
export { formatTraceparent, parseTraceparent, runSpanId } from './trace.js';
export type { TraceContext } from './trace.js';
export { workerPresenceKey, workerPresenceSchema } from './worker-presence.js';
export type { WorkerPresence } from './worker-presence.js';
