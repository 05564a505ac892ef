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
  /** A preview counts no further. */
  bulkCountMax: 100_000,
} as const;
