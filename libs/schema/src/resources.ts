/**
 * What the HTTP API answers and takes: the source of its validation, of OpenAPI and of the typed client. Shapes that refer to one
 * another, and are read beside routes.ts: one file.
 */
import { z } from 'zod';
import { isReservedSignal, verdictSchema } from './approval.js';
import { workerEndpoint } from './circuit-breaker.js';
import { storedLetterReasons } from './dead-letter.js';
import { emittedEventSchema, eventDataSchema, eventSources } from './event.js';
import { failureSchema } from './failure.js';
import { concurrencySchema, flowRules } from './flow-control.js';
import {
  appIdSchema,
  emittedEventNameSchema,
  functionIdSchema,
  slugSchema,
  uuidSchema,
} from './identifiers.js';
import { appUrlSchema, functionFieldsSchema } from './function.js';
import { notCompensatedSchema } from './journal.js';
import { limits } from './limits.js';
import { mismatchSchema } from './mismatch.js';
import { isTerminal, runStatuses, runStatusSchema } from './run.js';
import { overlapSchema, scheduleIdSchema } from './schedule.js';
import { signalNameSchema, stepIdSchema, stepStatuses, stepTypes } from './step.js';
import { utf8Text } from './utf8-text.js';

const timestamp = z.iso.datetime();
const json = z.unknown().describe('any JSON');

export const errorBodySchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), field: z.string().optional() }),
});

/** `30s`, `500ms`, `1m` or plain seconds; at most a minute. */
export const waitSchema = z
  .string()
  .regex(/^\d+(ms|s|m)?$/, 'must be a duration such as "30s"')
  .transform((text) => {
    const amount = Number.parseInt(text, 10);
    return text.endsWith('ms') ? amount : amount * (text.endsWith('m') ? 60_000 : 1_000);
  })
  .pipe(z.number().max(limits.waitSecondsMax * 1_000, `must be at most ${limits.waitSecondsMax} seconds`));

export const emitBodySchema = z.union([
  emittedEventSchema,
  z
    .array(emittedEventSchema)
    .min(1)
    .max(limits.eventsPerRequestMax, `at most ${limits.eventsPerRequestMax} events go into one request`),
]);

export const runResultSchema = z.object({
  id: uuidSchema,
  functionId: functionIdSchema,
  status: runStatusSchema,
  skipReason: z.string().optional(),
  joinedRunId: uuidSchema
    .optional()
    .describe('of a skipped run: the one that its event joined (`batch`) or that goes on in its place'),
  output: json.optional(),
  error: failureSchema.optional(),
});
export type RunResult = z.infer<typeof runResultSchema>;

export const emitAnswerSchema = z.object({
  ids: z
    .array(uuidSchema)
    .describe('the ids of the events, in their order; of the first event for a repeated key'),
  runs: z
    .array(runResultSchema)
    .optional()
    .describe('with `wait`: the runs they started, at their end or the deadline'),
});
export type EmitAnswer = z.infer<typeof emitAnswerSchema>;

export const invokeBodySchema = z.strictObject({
  function: functionIdSchema,
  data: eventDataSchema.optional(),
  idempotencyKey: emittedEventSchema.shape.idempotencyKey,
  correlationId: emittedEventSchema.shape.correlationId,
  causationId: emittedEventSchema.shape.causationId,
});

export const rerunBodySchema = z
  .strictObject({
    data: eventDataSchema.optional().describe('takes the place of the data of the run’s event'),
    fromStep: stepIdSchema
      .optional()
      .describe('the id of a step: those that settled before it are taken over instead of run again'),
    idempotencyKey: emittedEventSchema.shape.idempotencyKey.describe(
      'the same key within 24 hours answers the first rerun’s ids and starts nothing; for another run, or an event, ' +
        'it is refused',
    ),
  })
  .nullish();
export type RerunBody = NonNullable<z.infer<typeof rerunBodySchema>>;

export const rerunAnswerSchema = z.object({
  eventId: uuidSchema.describe('of the new event; of the first one for a repeated key'),
  runId: uuidSchema.describe('of the run that it starts, which is there as soon as the event is routed'),
});
export type RerunAnswer = z.infer<typeof rerunAnswerSchema>;

/** Why a run does not go on that no step of it says: flow control keeps it, or it was put off. */
export const waitingForSchema = z.object({
  rule: z
    .string()
    .describe(
      `one of flow control (${flowRules.join(', ')}), \`circuit_open\` (the breaker of its function is open), ` +
        '`retry` (its function failed and is called again); others as its executor said why it was put off',
    ),
  key: z.string().optional().describe('of flow control: as its event gave it; absent where it gave none'),
  until: timestamp
    .optional()
    .describe('where time ends it; it may come sooner, as a batch that is full does'),
  since: timestamp
    .optional()
    .describe('of flow control: of its event; absent for a run that has begun before'),
});
export type WaitingFor = z.infer<typeof waitingForSchema>;

export const runSchema = z.object({
  id: uuidSchema,
  appId: appIdSchema,
  functionId: functionIdSchema,
  functionHash: z.string(),
  mode: z.enum(['push', 'pull']),
  buildId: z.string().optional().describe('the build of the workers that it is pinned to'),
  status: runStatusSchema,
  waitingFor: waitingForSchema.optional(),
  skipReason: z.string().optional(),
  joinedRunId: runResultSchema.shape.joinedRunId,
  eventId: uuidSchema,
  eventName: z.string(),
  correlationId: z.string(),
  output: json.optional(),
  error: failureSchema.optional(),
  traceId: z.string().optional(),
  createdAt: timestamp,
  startedAt: timestamp.optional(),
  endedAt: timestamp.optional(),
  stopRequestedAt: timestamp.optional().describe('when it was cancelled; it ends as soon as it has stopped'),
  rerunOf: uuidSchema.optional().describe('the run that it repeats'),
  stoppingAs: z
    .enum(['failed', 'cancelled'])
    .optional()
    .describe('how it will end, once what it had registered has been undone'),
  notCompensated: z
    .array(notCompensatedSchema)
    .optional()
    .describe('what could not be undone when it stopped'),
});
export type Run = z.infer<typeof runSchema>;

export const signalBodySchema = z.strictObject({
  name: signalNameSchema
    .refine((name) => !isReservedSignal(name), 'must not begin with "ironflow.", which is the platform’s')
    .describe('the name of the step that waits for it'),
  data: z.unknown().optional().describe('any JSON'),
  id: uuidSchema
    .optional()
    .describe('of the signal; sent again with the same id it changes nothing. By default a fresh one'),
});
export const signalAnswerSchema = z.object({ id: uuidSchema });
export type SignalAnswer = z.infer<typeof signalAnswerSchema>;

export const publishBodySchema = z.strictObject({
  data: z.unknown().optional().describe('any JSON, at most 512 KiB; `null` by default'),
  idempotencyKey: utf8Text(limits.idempotencyKeyBytesMax)
    .min(1)
    .optional()
    .describe(
      'the same key for the same topic within 10 minutes publishes nothing and answers the first message’s id',
    ),
});
/** The place of a message among those of all topics: larger ones came later. */
export const messageIdSchema = z.string().regex(/^\d{1,16}$/, 'must be the id of a message');
export const publishAnswerSchema = z.object({ id: messageIdSchema });
export type PublishAnswer = z.infer<typeof publishAnswerSchema>;

export const topicMessageSchema = z.object({
  id: messageIdSchema,
  topic: z.string(),
  data: json,
  publishedAt: timestamp,
});
export type TopicMessage = z.infer<typeof topicMessageSchema>;

const approvalName = stepIdSchema.describe(
  'the name of the step, then `name:1`, `name:2` for its repetitions',
);

export const approvalLinkBodySchema = z.strictObject({ name: approvalName });
export const approvalLinkAnswerSchema = z.object({
  path: z.string().describe('below the platform’s URL; whoever has it can decide, once'),
});
export type ApprovalLinkAnswer = z.infer<typeof approvalLinkAnswerSchema>;

export const decideBodySchema = z.strictObject({
  name: approvalName,
  ...verdictSchema.shape,
  id: uuidSchema
    .optional()
    .describe('of the decision; sent again with the same id it changes nothing. By default a fresh one'),
});
export const decideAnswerSchema = z.object({ id: uuidSchema, approved: z.boolean(), decidedAt: timestamp });
export type DecideAnswer = z.infer<typeof decideAnswerSchema>;

/** What the page of a link sends. */
export const approvalFormSchema = z.strictObject({
  decision: z.enum(['approve', 'reject']),
  comment: verdictSchema.shape.comment,
});

/** One attempt of one step. */
export const stepSchema = z.object({
  id: z.string(),
  name: z.string(),
  type: z.enum(stepTypes),
  attempt: z.number().int(),
  status: z.enum(stepStatuses),
  output: json.optional(),
  error: failureSchema.optional(),
  startedAt: timestamp,
  endedAt: timestamp.optional(),
  dueAt: timestamp.optional().describe('when a sleep or a retry is due, or a wait has been in vain'),
  invokedRunId: uuidSchema.optional().describe('the run that an `invoke` waits for'),
  eventId: uuidSchema.optional().describe('the event that a wait was answered by'),
});
export type Step = z.infer<typeof stepSchema>;

export const runDetailSchema = runSchema.extend({
  invokedBy: uuidSchema.optional().describe('the run whose step invoked it'),
  mismatch: mismatchSchema
    .optional()
    .describe('recorded steps that the code of the function did not fit when it was called'),
  batch: z
    .object({ count: z.number().int(), eventIds: z.array(uuidSchema) })
    .optional()
    .describe(`the events that it begins with, the first ${limits.listedEventsMax} by their ids`),
  steps: z.array(stepSchema),
  approvals: z
    .array(z.object({ name: z.string(), dueAt: timestamp.optional() }))
    .optional()
    .describe('those that somebody has to decide'),
  logLines: z
    .number()
    .int()
    .optional()
    .describe('lines of its logger that are kept; absent if there is none'),
});
export type RunDetail = z.infer<typeof runDetailSchema>;

export const eventSchema = z.object({
  id: uuidSchema,
  name: z.string(),
  data: json,
  version: z.string().optional(),
  source: z.enum(eventSources),
  correlationId: z.string(),
  causationId: z.string().optional(),
  receivedAt: timestamp,
});
export type Event = z.infer<typeof eventSchema>;

export const eventDetailSchema = eventSchema.extend({ runs: z.array(runResultSchema) });
export type EventDetail = z.infer<typeof eventDetailSchema>;

export const functionSchema = functionFieldsSchema.extend({
  appId: appIdSchema,
  mode: z.enum(['push', 'pull']),
  hash: z.string(),
  status: z.enum(['active', 'archived']),
  registeredAt: timestamp,
  pausedAt: timestamp.optional().describe('since when no run of it begins'),
  concurrencyLimit: concurrencySchema.shape.limit
    .optional()
    .describe('activations at once, as it was set beside the code and its own rules'),
});
export type FunctionResource = z.infer<typeof functionSchema>;

export const setFunctionLimitsBodySchema = z.strictObject({
  concurrency: concurrencySchema.shape.limit
    .nullable()
    .describe('activations at once, whatever the code says beside it; null: as the code says'),
});
export type SetFunctionLimitsBody = z.infer<typeof setFunctionLimitsBodySchema>;

export const environmentSchema = z.object({
  project: slugSchema,
  env: slugSchema,
  pausedAt: timestamp.optional().describe('since when no run of any function begins'),
});
export type EnvironmentResource = z.infer<typeof environmentSchema>;

const queuedRuns = z.number().int().describe(`up to ${limits.queueCountMax}`);

/** What waits by a function's flow control. */
export const queueSummarySchema = z.object({
  functionId: functionIdSchema,
  pausedAt: timestamp.optional(),
  waiting: z
    .object({
      debounce: queuedRuns.optional(),
      batch: queuedRuns.optional().describe('those that gather one'),
      paused: queuedRuns.optional(),
      singleton: queuedRuns.optional(),
      throttle: queuedRuns.optional(),
      concurrency: queuedRuns.optional(),
      worker: queuedRuns.optional().describe('nobody is there who serves them'),
      ready: queuedRuns.optional().describe('about to be let go'),
    })
    .describe(
      `runs, by what they wait for; of a function no more than ${limits.queueCountMax} are looked at`,
    ),
  nextAt: timestamp.optional().describe('when time lets the next one go'),
});
export type QueueSummary = z.infer<typeof queueSummarySchema>;

export const queueSchema = queueSummarySchema.extend({
  groups: z
    .array(
      z.object({
        rule: z.enum(flowRules).optional().describe('absent: it waits for nothing any more'),
        key: z.string().optional(),
        runs: queuedRuns,
        events: z.number().int().optional().describe('in a batch that gathers'),
        since: timestamp.optional().describe('of the event that came first'),
        until: timestamp.optional(),
      }),
    )
    .describe(`runs that wait for the same, the first ${limits.queueGroupsMax} by the age of their events`),
  slots: z
    .array(
      z.object({
        rule: z.enum(['concurrency', 'singleton']),
        scope: z.enum(['function', 'env']),
        key: z.string().optional(),
        inUse: z.number().int(),
        limit: z.number().int().optional().describe('absent when the function has no such rule any more'),
        runs: z
          .array(z.object({ id: uuidSchema, since: timestamp }))
          .describe(`those that hold them, at most ${limits.slotRunsMax}`),
      }),
    )
    .describe(`that are in use, or were waited for; at most ${limits.queueGroupsMax}`),
});
export type Queue = z.infer<typeof queueSchema>;

export const appSchema = z.object({
  id: appIdSchema,
  mode: z.enum(['push', 'pull']),
  url: z.string().optional(),
  sdk: z.string().optional(),
  signedAnswers: z.boolean().describe('of a push app: answers that are not signed are refused'),
  functions: z.number().int(),
  builds: z
    .array(
      z.object({
        id: z.string(),
        runs: z.number().int().describe(`that have not ended, up to ${limits.buildRunsCountMax}`),
        waitingForWorker: z.number().int().describe('of these, the ones that wait for a worker of the build'),
      }),
    )
    .describe('those with runs that are pinned to them and have not ended'),
  registeredAt: timestamp,
});
export type App = z.infer<typeof appSchema>;

export const registerAnswerSchema = z.object({
  appId: appIdSchema,
  registered: z.array(functionIdSchema).describe('new or changed'),
  unchanged: z.array(functionIdSchema),
  archived: z.array(functionIdSchema).describe('no longer in the app; their runs go on to their end'),
});
export type RegisterAnswer = z.infer<typeof registerAnswerSchema>;

const endpoint = z
  .string()
  .max(2_048)
  .refine(
    (value) => value === workerEndpoint || appUrlSchema.safeParse(value).data === value,
    'must be the URL of a push app or `worker`',
  )
  .optional()
  .describe(
    'the URL of a push app, `worker` for a pull app; without it, the one at which the function is called now. ' +
      'Another is opened or reset only if it has a breaker',
  );

/** The breaker of one function at one endpoint. */
export const breakerSchema = z.object({
  functionId: z.string(),
  endpoint: z.string().describe('the URL of a push app, `worker` for a pull app'),
  state: z.enum(['closed', 'open', 'half_open']),
  forced: z
    .object({ since: timestamp, until: timestamp.optional().describe('without one: until it is reset') })
    .optional()
    .describe('an operator holds it open'),
  consecutiveFailures: z.number().int(),
  calls: z.number().int().describe('counted in the running window; successes may come late'),
  failures: z.number().int().describe('of these calls'),
  openedAt: timestamp.optional(),
  probeFrom: timestamp.optional().describe('when one call is let through to see; of an open one'),
  probeSince: timestamp.optional().describe('when that call was let through; of a half-open one'),
});
export type Breaker = z.infer<typeof breakerSchema>;

export const breakersListSchema = z.object({
  breakers: z.array(breakerSchema).describe('closed ones only if a call has failed lately'),
  isComplete: z.boolean().describe(`false: there are more than ${limits.breakersListedMax}`),
});
export const breakersQuerySchema = z.strictObject({
  state: breakerSchema.shape.state.optional(),
  function: functionIdSchema.optional(),
});
export type BreakersQuery = z.infer<typeof breakersQuerySchema>;
export const breakerQuerySchema = z.strictObject({ endpoint });
export const resetBreakerBodySchema = z.strictObject({ endpoint }).nullish();
export const openBreakerBodySchema = z
  .strictObject({
    endpoint,
    forMs: z
      .number()
      .int()
      .min(1_000)
      .max(31_536_000_000)
      .optional()
      .describe('for so long, at most a year; without it until it is reset'),
  })
  .nullish();

const idTime = 'by the time in its id, which for a run is that of its event';
export const pageQuery = {
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(limits.pageSizeMax)
    .default(50)
    .describe('at most so many; a page with more than 4 MiB of payloads ends earlier'),
  cursor: z.string().max(512).optional().describe('`nextCursor` of the page before'),
  from: timestamp.optional().describe(`at or after; ${idTime}`),
  to: timestamp.optional().describe(`before; ${idTime}`),
};

export const runsQuerySchema = z.strictObject({
  ...pageQuery,
  status: z.enum(runStatuses).optional(),
  function: functionIdSchema.optional(),
  event: uuidSchema.optional().describe('an event id'),
  correlation: z.string().max(128).optional(),
});
export type RunsQuery = z.infer<typeof runsQuerySchema>;

export const eventsQuerySchema = z.strictObject({
  ...pageQuery,
  name: z.string().max(256).optional(),
  correlation: z.string().max(128).optional(),
});
export type EventsQuery = z.infer<typeof eventsQuerySchema>;

export const runsPageSchema = z.object({ runs: z.array(runSchema), nextCursor: z.string().optional() });
export const eventsPageSchema = z.object({ events: z.array(eventSchema), nextCursor: z.string().optional() });
export type RunsPage = z.infer<typeof runsPageSchema>;
export type EventsPage = z.infer<typeof eventsPageSchema>;

export const deadLetterSummarySchema = z.object({
  id: uuidSchema,
  reason: z.enum(storedLetterReasons),
  detail: z.string(),
  subject: z.string().optional().describe('of the message that could not be processed'),
  runId: uuidSchema.optional().describe('the run that failed'),
  functionId: z.string().optional(),
  occurredAt: timestamp,
  replayedAt: timestamp.optional(),
});
export type DeadLetterSummary = z.infer<typeof deadLetterSummarySchema>;

export const deadLetterDetailSchema = deadLetterSummarySchema.extend({
  payload: z.string().optional().describe('the message as it came; for a failed run, see its event'),
  payloadEncoding: z.enum(['utf8', 'base64']).optional(),
  error: failureSchema.optional().describe('of the run that failed'),
});
export type DeadLetterDetail = z.infer<typeof deadLetterDetailSchema>;

export const deadLettersQuerySchema = z.strictObject({
  ...pageQuery,
  reason: z.enum(storedLetterReasons).optional(),
});
export type DeadLettersQuery = z.infer<typeof deadLettersQuerySchema>;

export const deadLettersPageSchema = z.object({
  deadLetters: z.array(deadLetterSummarySchema),
  nextCursor: z.string().optional(),
});
export type DeadLettersPage = z.infer<typeof deadLettersPageSchema>;

export const replayAnswerSchema = z.object({
  id: uuidSchema,
  replayedAt: timestamp.describe('the first time'),
  eventId: uuidSchema.optional().describe('for a failed run: of the event that repeats it'),
  runId: uuidSchema.optional().describe('for a failed run: of the run that repeats it'),
});
export type ReplayAnswer = z.infer<typeof replayAnswerSchema>;

export const discardAnswerSchema = z.object({ id: uuidSchema });
export type DiscardAnswer = z.infer<typeof discardAnswerSchema>;

const bulkBody = {
  from: pageQuery.from,
  to: pageQuery.to,
  dryRun: z
    .boolean()
    .default(false)
    .describe(`only count what would be started, up to ${limits.bulkCountMax}`),
  limit: z
    .number()
    .int()
    .min(1)
    .max(limits.bulkEventsPerRequestMax)
    .default(limits.bulkEventsPerRequestMax)
    .describe('at most so many at once; fewer when their payloads are more than 4 MiB'),
  cursor: pageQuery.cursor,
  idempotencyKey: emittedEventSchema.shape.idempotencyKey.describe(
    'the same key within 24 hours repeats no run, and gives no event to the function, a second time',
  ),
};

export const rerunRunsBodySchema = z.strictObject({
  status: z.enum(runStatuses).refine(isTerminal, 'must be one of a run that has ended'),
  function: functionIdSchema.optional(),
  ...bulkBody,
});
export type RerunRunsBody = z.infer<typeof rerunRunsBodySchema>;

export const cancelRunsBodySchema = z
  .strictObject({
    status: z
      .enum(runStatuses)
      .refine((status) => !isTerminal(status), 'must be one of a run that has not ended')
      .optional(),
    function: functionIdSchema.optional(),
    correlation: z.string().max(128).optional(),
    from: pageQuery.from,
    to: pageQuery.to,
    dryRun: z
      .boolean()
      .default(false)
      .describe(`only count what would be cancelled, up to ${limits.bulkCountMax}`),
    limit: z
      .number()
      .int()
      .min(1)
      .max(limits.bulkCancelMax)
      .default(limits.bulkCancelMax)
      .describe('at most so many at once, the newest first'),
  })
  .refine(
    ({ status, function: id, correlation, from, to }) =>
      (status ?? id ?? correlation ?? from ?? to) !== undefined,
    'must have at least one of status, function, correlation, from and to',
  );
export type CancelRunsBody = z.infer<typeof cancelRunsBodySchema>;

export const cancelRunsAnswerSchema = z.object({
  count: z.number().int().describe('of runs that are asked to stop, or would be'),
  isComplete: z.boolean().describe('whether these were all; otherwise ask again for the others'),
});
export type CancelRunsAnswer = z.infer<typeof cancelRunsAnswerSchema>;

export const replayEventsBodySchema = z.strictObject({
  event: emittedEventNameSchema.describe('the name of the events'),
  ...bulkBody,
});
export type ReplayEventsBody = z.infer<typeof replayEventsBodySchema>;

export const replayLettersBodySchema = z.strictObject({
  reason: z.enum(storedLetterReasons).optional(),
  function: functionIdSchema.optional().describe('of the runs that failed; other letters have none'),
  from: bulkBody.from,
  to: bulkBody.to,
  dryRun: bulkBody.dryRun,
  limit: bulkBody.limit,
  cursor: bulkBody.cursor,
});
export type ReplayLettersBody = z.infer<typeof replayLettersBodySchema>;

export const bulkAnswerSchema = z.object({
  count: z.number().int().describe('of runs that were started or letters that were replayed, or would be'),
  skipped: z
    .number()
    .int()
    .optional()
    .describe(
      'runs whose function is not registered any more, or whose event is not kept any more; letters that cannot be replayed',
    ),
  nextCursor: z.string().optional().describe('there are more: ask again with this `cursor`'),
});
export type BulkAnswer = z.infer<typeof bulkAnswerSchema>;

/** Of an event that is not due yet: `id`, `name` and what else it will be stored with. */
export const scheduledEventSchema = eventSchema
  .pick({ id: true, name: true, data: true, version: true, correlationId: true, causationId: true })
  .extend({ at: timestamp.describe('when it is delivered'), acceptedAt: timestamp });
export type ScheduledEvent = z.infer<typeof scheduledEventSchema>;

export const scheduledEventsQuerySchema = z.strictObject({
  limit: pageQuery.limit,
  cursor: pageQuery.cursor,
});
export type ScheduledEventsQuery = z.infer<typeof scheduledEventsQuerySchema>;

export const scheduledEventsPageSchema = z.object({
  events: z.array(scheduledEventSchema),
  nextCursor: z.string().optional(),
});
export type ScheduledEventsPage = z.infer<typeof scheduledEventsPageSchema>;

export const cancelScheduledEventAnswerSchema = z.object({ id: uuidSchema });
export type CancelScheduledEventAnswer = z.infer<typeof cancelScheduledEventAnswerSchema>;

export const scheduleSchema = z.object({
  id: scheduleIdSchema,
  functionId: functionIdSchema,
  cron: z.string(),
  timezone: z.string(),
  jitterMs: z.number().int().optional(),
  overlap: overlapSchema,
  catchUpMs: z.number().int().describe('within what a time that could not be fired is made up for'),
  status: z.enum(['active', 'paused']),
  registeredAt: timestamp,
  pausedAt: timestamp.optional(),
  next: z
    .array(timestamp)
    .describe('its next 5 times, in a list the next one; without their jitter, and none while it is paused'),
  lastFiring: z
    .object({
      scheduledAt: timestamp,
      firedAt: timestamp,
      lateMs: z.number().int().describe('behind its time, jitter included'),
    })
    .optional(),
  givenUp: z
    .object({ count: z.number().int(), lastAt: timestamp.optional() })
    .describe('times that could not be fired within the catch-up window'),
});
export type Schedule = z.infer<typeof scheduleSchema>;

export const schedulesQuerySchema = z.strictObject({
  limit: pageQuery.limit,
  cursor: pageQuery.cursor,
  function: functionIdSchema.optional(),
});
export type SchedulesQuery = z.infer<typeof schedulesQuerySchema>;

export const schedulesPageSchema = z.object({
  schedules: z.array(scheduleSchema),
  nextCursor: z.string().optional(),
});
export type SchedulesPage = z.infer<typeof schedulesPageSchema>;

export const triggerScheduleBodySchema = z
  .strictObject({
    idempotencyKey: emittedEventSchema.shape.idempotencyKey.describe(
      'the same key within 24 hours starts nothing a second time; for another schedule, or an event, it is refused',
    ),
  })
  .nullish();

export const backfillBodySchema = z.strictObject({
  from: timestamp.describe('times at or after'),
  to: timestamp.describe(`times before; of at most ${limits.backfillTimesMax} times, and none in the future`),
  dryRun: z.boolean().default(false).describe('only count the times that were not fired'),
  limit: bulkBody.limit,
  cursor: pageQuery.cursor,
});
export type BackfillBody = z.infer<typeof backfillBodySchema>;

export const backfillAnswerSchema = z.object({
  count: z.number().int().describe('of times that are fired, or would be'),
  skipped: z.number().int().describe('times that had been fired before'),
  nextCursor: z.string().optional().describe('there are more: ask again with this `cursor`'),
});
export type BackfillAnswer = z.infer<typeof backfillAnswerSchema>;
