/** Every limit a user can meet, once. Byte limits count UTF-8. */
export const limits = {
  eventNameTokensMax: 8,
  eventNameBytesMax: 256,
  eventDataBytesMax: 512 * 1024,
  eventsPerRequestMax: 1_000,
  requestBodyBytesMax: 16 * 1024 * 1024,
  idempotencyKeyBytesMax: 256,
  stepOutputBytesMax: 4 * 1024 * 1024,
  /** Larger outputs go by way of Postgres, and what travels is a claim: a message of NATS has 1 MiB, and the stream's room is for all. */
  inlineOutputBytesMax: 64 * 1024,
  /** Outputs and errors of all steps of one run: what every replay has to be given. */
  runMemoBytesMax: 32 * 1024 * 1024,
  stepNameBytesMax: 256,
  stepsPerRunMax: 1_000,
  /** Items of one `step.map`, branches of one `step.parallel`: no more could each have a step. */
  parallelMax: 1_000,
  /** A day: what takes longer is better several steps. */
  stepTimeoutMsMax: 86_400_000,
  /** A week of activity, in which waiting does not count. */
  functionTimeoutMsMax: 604_800_000,
  /** A year: what begins later than that is not what was asked for. */
  startDeadlineMsMax: 31_536_000_000,
  matchPathBytesMax: 256,
  matchValueBytesMax: 1_024,
  /** An hour: what may be put off for longer is better another time. */
  scheduleJitterMsMax: 3_600_000,
  /** Less would give up times for a restart. */
  catchUpMsMin: 10_000,
  /** A month. */
  catchUpMsMax: 2_592_000_000,
  /** Of one schedule that could not be fired, the latest; those before are given up. */
  catchUpTimesMax: 100,
  /** Of one schedule, in the range of one backfill. */
  backfillTimesMax: 10_000,
  /** A year with its leap day: what is later than that is not what was asked for. */
  eventAheadMsMax: 31_622_400_000,
  /** Of one run, not taken yet. */
  signalsPerRunMax: 1_000,
  /** Steps of a run that are named because they do not fit its function's code. */
  mismatchedStepsMax: 20,
  topicDataBytesMax: 512 * 1024,
  /** Of one environment at once, in one process of the api. */
  topicSubscriptionsMax: 100,
  /** Each attempt to ask for an approval makes one. */
  approvalLinksPerRunMax: 1_000,
  approvalCommentBytesMax: 4 * 1024,
  /** Rules of one function, and what one of them lets run at once. */
  concurrencyRulesMax: 3,
  concurrencyMax: 10_000,
  rateLimitMax: 1_000_000,
  flowPeriodMsMin: 1_000,
  /** A week. */
  flowPeriodMsMax: 604_800_000,
  debouncePeriodMsMin: 100,
  batchSizeMax: 1_000,
  /** Data of one batch: what is beyond begins the next. */
  batchBytesMax: 4 * 1024 * 1024,
  /** Of one rule, as its expression gives it. */
  flowKeyBytesMax: 1_024,
  prioritySecondsMax: 600,
  /** Of a function's runs that wait, so many are counted, and grouped by what they wait for. */
  queueCountMax: 10_000,
  queueGroupsMax: 100,
  /** Of the runs that hold the slots of one name, and of a batch's events, so many are named. */
  slotRunsMax: 20,
  listedEventsMax: 100,
  /** Of one environment, by operators. */
  forcedBreakersMax: 1_000,
  /** A list of breakers has no more. */
  breakersListedMax: 1_000,
  functionsPerAppMax: 1_000,
  triggersPerFunctionMax: 20,
  cancelOnPerFunctionMax: 5,
  expressionBytesMax: 4 * 1024,
  /** A notice carries a run's output up to here; above, a reader asks Postgres. */
  noticeOutputBytesMax: 64 * 1024,
  errorMessageBytesMax: 8 * 1024,
  /** Of one line of a handler's logger; what is longer is cut. */
  logMessageBytesMax: 8 * 1024,
  /** As JSON. */
  logFieldsBytesMax: 16 * 1024,
  /** Of an activation; of a push endpoint, of each call. */
  logLinesPerCallMax: 1_000,
  /** Messages and fields together: they go with the answer of a push endpoint. */
  logBytesPerCallMax: 1024 * 1024,
  logLinesPerPageMax: 1_000,
  pageSizeMax: 200,
  waitSecondsMax: 60,
  /** Runs repeated, events or dead letters replayed by one request, and in a second by one environment: what it does now goes on beside. */
  bulkEventsPerRequestMax: 100,
  /** Runs asked to stop by one request. */
  bulkCancelMax: 500,
  bulkEventsPerSecondMax: 100,
  /** Builds of one app that have had workers at one executor within the last hour. */
  buildsPerAppMax: 100,
  /** Runs of a build are counted no further. */
  buildRunsCountMax: 1_000,
  webhookSourcesMax: 100,
  /** A delivery as it comes: white space and the encoding of forms are more than the event's data. */
  webhookBodyBytesMax: 2 * 1024 * 1024,
  webhookSecretLengthMax: 512,
  /** Of one source, those in their grace included. */
  webhookSecretsMax: 10,
  /** Of a delivery, kept beside its body. */
  webhookHeadersMax: 20,
  webhookGraceSecondsMax: 7 * 86_400,
  /** Of one source; what is older than 30 days, or beyond these, is removed from the log of deliveries. */
  webhookDeliveriesKept: 10_000,
  /** Refused deliveries of one source that go into the log: whoever can send may not fill it. */
  webhookRefusalsPerMinuteMax: 20,
  /** Names of what was sent, in one entry of the audit log. */
  auditedFieldsMax: 50,
  /** Live ones of one environment. */
  apiKeysMax: 100,
  signingKeysMax: 5,
  operatorKeysMax: 100,
  keyNameLengthMax: 100,
  /** Of a key that was replaced: a month. */
  keyOverlapSecondsMax: 30 * 86_400,
  /** Made by one request. */
  environmentsPerRequestMax: 20,
  graceDaysMax: 365,
  /** Of one environment, live ones; revoked ones are remembered until they would have expired, so many in all. */
  credentialsMax: 100,
  credentialsKeptMax: 1_000,
  credentialNameLengthMax: 100,
  credentialSecondsMax: 365 * 86_400,
  /** Of all its credentials together, at one server. */
  directConnectionsMax: 100,
  directSubscriptionsMax: 1_000,
  /** Beside the event's data. */
  directHeaderBytesMax: 16 * 1024,
  /** Of one environment. */
  secretsMax: 1_000,
  secretValueBytesMax: 64 * 1024,
  /** Of one secret: those before are removed as a newer one is set. */
  secretVersionsKept: 5,
  /** Values read by one request. */
  secretsPerRequestMax: 100,
  /** Of one environment. */
  configDocumentsMax: 1_000,
  configDataBytesMax: 256 * 1024,
  /** Of one environment: each is a stream, in a cluster a Raft group. */
  kvBucketsMax: 100,
  kvBucketBytesMin: 1024 * 1024,
  kvBucketBytesDefault: 64 * 1024 * 1024,
  kvBucketBytesMax: 1024 * 1024 * 1024,
  /** A message of NATS has 1 MiB, with its subject and headers. */
  kvValueBytesMax: 1_000 * 1024,
  /** A year. */
  kvTtlSecondsMax: 31_536_000,
  /** That a pattern names: each page reads them all. */
  kvKeysListedMax: 100_000,
  /** Live views of documents and keys, of one environment at once, in one process of the api. */
  watchesMax: 100,
  /** A preview counts no further. */
  bulkCountMax: 100_000,
} as const;
