/**
 * Every public HTTP route, once: the services register from here and OpenAPI is generated from here. `service` says who
 * answers it (one table, so one file), for whoever puts all of them behind the user's one URL.
 */
import { z } from 'zod';
import { appManifestSchema } from './function.js';
import {
  appIdSchema,
  emittedEventNameSchema,
  eventPatternSchema,
  functionIdSchema,
  slugSchema,
  uuidSchema,
} from './identifiers.js';
import {
  appSchema,
  breakerQuerySchema,
  breakerSchema,
  breakersListSchema,
  breakersQuerySchema,
  bulkAnswerSchema,
  deadLetterDetailSchema,
  deadLettersPageSchema,
  deadLettersQuerySchema,
  discardAnswerSchema,
  emitAnswerSchema,
  emitBodySchema,
  eventDetailSchema,
  eventsPageSchema,
  eventsQuerySchema,
  functionSchema,
  invokeBodySchema,
  messageIdSchema,
  openBreakerBodySchema,
  publishAnswerSchema,
  publishBodySchema,
  topicMessageSchema,
  registerAnswerSchema,
  replayAnswerSchema,
  replayEventsBodySchema,
  replayLettersBodySchema,
  rerunAnswerSchema,
  rerunBodySchema,
  rerunRunsBodySchema,
  resetBreakerBodySchema,
  runDetailSchema,
  runSchema,
  runsPageSchema,
  runsQuerySchema,
  stepSchema,
  waitSchema,
  cancelRunsAnswerSchema,
  cancelRunsBodySchema,
  signalAnswerSchema,
  signalBodySchema,
  approvalFormSchema,
  approvalLinkAnswerSchema,
  approvalLinkBodySchema,
  decideAnswerSchema,
  decideBodySchema,
} from './resources.js';

/** What a key may do, each including those before it. */
export const keyRoles = ['viewer', 'developer', 'admin'] as const;
export type KeyRole = (typeof keyRoles)[number];

/** Whether a key of role `held` may use a route that needs `needed`. */
export function roleAllows(held: KeyRole, needed: KeyRole): boolean {
  return keyRoles.indexOf(held) >= keyRoles.indexOf(needed);
}

export interface Route {
  service: 'ingest' | 'api';
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Parameters as `:name`. */
  path: `/v1/${string}`;
  summary: string;
  /** The least role of the key; `none`: no key is asked for. */
  role: KeyRole | 'none';
  params?: z.ZodObject;
  query?: z.ZodObject;
  body?: z.ZodType;
  /** By status; absent for a stream of server-sent events. */
  answers: Readonly<Record<number, { description: string; schema: z.ZodType }>>;
  /** Answers people: with a page of HTML, which sends its form. */
  page?: { statuses: Readonly<Record<number, string>> };
  /** Sends server-sent events of this name and data instead of one answer. */
  stream?: { event: string; schema: z.ZodType };
  /** Codes of errors beyond those that every route can answer. */
  errors?: readonly string[];
}

const noQuery = z.strictObject({});
/** Whoever passes a link on may add to it. */
const anyQuery = z.looseObject({});
const runParams = z.object({ id: uuidSchema });
const eventParams = z.object({ id: uuidSchema });
const functionParams = z.object({ id: functionIdSchema });
const deadLetterParams = z.object({ id: uuidSchema });
const appParams = z.object({ id: appIdSchema });
const topicParams = z.object({ topic: emittedEventNameSchema });
const topicPatternParams = z.object({ topic: eventPatternSchema });
const topicQuery = z.strictObject({
  after: messageIdSchema
    .optional()
    .describe(
      'begin behind the message of this id, as far as it is kept; as the header `Last-Event-ID` does',
    ),
});
const approvalParams = z.object({ token: z.string() });

export const emitQuerySchema = z.strictObject({
  wait: waitSchema.optional().describe('how long to wait for the runs to end, such as `30s`'),
});
export type EmitQuery = z.infer<typeof emitQuerySchema>;

/** What a watcher of a run is sent: its whole state after each change; outputs of steps are left to `getRun`. */
export const runUpdateSchema = runDetailSchema
  .pick({ id: true, functionId: true, status: true, output: true, error: true })
  .extend({ steps: z.array(stepSchema.omit({ output: true })) });
export type RunUpdate = z.infer<typeof runUpdateSchema>;

export const functionsListSchema = z.object({ functions: z.array(functionSchema) });
export const appsListSchema = z.object({ apps: z.array(appSchema) });

/** Whose key it is. */
export const identitySchema = z.object({
  project: slugSchema,
  env: slugSchema,
  role: z.enum(keyRoles),
});
export type Identity = z.infer<typeof identitySchema>;

const accepted = {
  202: { description: 'stored; the runs are on their way', schema: emitAnswerSchema },
  200: { description: 'with `wait`: the runs at their end or the deadline', schema: emitAnswerSchema },
};
const bulk = {
  202: { description: 'stored; the runs are on their way', schema: bulkAnswerSchema },
  200: { description: 'with `dryRun`: how many it would be', schema: bulkAnswerSchema },
};
const approvalPages = {
  200: 'asks for a decision, or says what was decided',
  404: 'there is no such link',
  410: 'it was decided before, or can be no more',
};
const ok = <Schema extends z.ZodType>(schema: Schema, description = 'found') => ({
  200: { description, schema },
});

export const routes = {
  emitEvents: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/events',
    summary: 'Emit one event or up to 1,000',
    role: 'developer',
    query: emitQuerySchema,
    body: emitBodySchema,
    answers: accepted,
    errors: [
      'event_data_too_large',
      'event_data_too_deep',
      'event_refused',
      'idempotency_key_reused',
      'overloaded',
      'database_unavailable',
    ],
  },
  invokeFunction: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/invocations',
    summary: 'Start one function by its id',
    role: 'developer',
    query: emitQuerySchema,
    body: invokeBodySchema,
    answers: accepted,
    errors: [
      'function_not_found',
      'event_data_too_large',
      'event_data_too_deep',
      'event_refused',
      'idempotency_key_reused',
      'overloaded',
      'database_unavailable',
    ],
  },
  listRuns: {
    service: 'api',
    method: 'GET',
    path: '/v1/runs',
    summary: 'Runs, newest first',
    role: 'viewer',
    query: runsQuerySchema,
    answers: ok(runsPageSchema, 'one page'),
    errors: ['cursor_invalid'],
  },
  getRun: {
    service: 'api',
    method: 'GET',
    path: '/v1/runs/:id',
    summary: 'One run with its steps',
    role: 'viewer',
    params: runParams,
    query: noQuery,
    answers: ok(runDetailSchema),
    errors: ['run_not_found'],
  },
  watchRun: {
    service: 'api',
    method: 'GET',
    path: '/v1/runs/:id/watch',
    summary: 'One run as it changes, until it ends',
    role: 'viewer',
    params: runParams,
    query: noQuery,
    answers: {},
    stream: { event: 'run', schema: runUpdateSchema },
    errors: ['run_not_found', 'too_many_streams'],
  },
  cancelRun: {
    service: 'api',
    method: 'POST',
    path: '/v1/runs/:id/cancel',
    summary: 'Stop a run: what runs of it is aborted within a second, and nothing more is begun',
    role: 'developer',
    params: runParams,
    query: noQuery,
    answers: { 202: { description: 'stored; asking again changes nothing', schema: runSchema } },
    errors: ['run_not_found', 'run_ended'],
  },
  cancelRuns: {
    service: 'api',
    method: 'POST',
    path: '/v1/runs/cancel',
    summary: 'Stop the runs that a filter finds, and that nobody has asked to stop yet',
    role: 'developer',
    query: noQuery,
    body: cancelRunsBodySchema,
    answers: ok(cancelRunsAnswerSchema, 'stored; with `dryRun` only counted'),
  },
  unpinRun: {
    service: 'api',
    method: 'POST',
    path: '/v1/runs/:id/unpin',
    summary: 'Let a run that waits go on with workers of any build',
    role: 'developer',
    params: runParams,
    query: noQuery,
    answers: ok(runSchema, 'it is pinned to no build now; asking again changes nothing'),
    errors: ['run_not_found', 'run_ended', 'run_active'],
  },
  signalRun: {
    service: 'api',
    method: 'POST',
    path: '/v1/runs/:id/signals',
    summary: 'Send a signal to a run: for the step of that name that waits for it, now or later',
    role: 'developer',
    params: runParams,
    query: noQuery,
    body: signalBodySchema,
    answers: { 202: { description: 'kept until the run takes it', schema: signalAnswerSchema } },
    errors: [
      'run_not_found',
      'run_ended',
      'signal_data_too_large',
      'signal_data_too_deep',
      'too_many_signals',
    ],
  },
  createApprovalLink: {
    service: 'api',
    method: 'POST',
    path: '/v1/runs/:id/approval-links',
    summary: 'Make a one-time link to a page on which an approval of the run is decided',
    role: 'developer',
    params: runParams,
    query: noQuery,
    body: approvalLinkBodySchema,
    answers: { 201: { description: 'not shown again', schema: approvalLinkAnswerSchema } },
    errors: ['run_not_found', 'run_ended', 'too_many_approval_links'],
  },
  decideApproval: {
    service: 'api',
    method: 'POST',
    path: '/v1/runs/:id/approvals',
    summary: 'Decide an approval of a run, once',
    role: 'developer',
    params: runParams,
    query: noQuery,
    body: decideBodySchema,
    answers: { 202: { description: 'kept until the run takes it', schema: decideAnswerSchema } },
    errors: [
      'run_not_found',
      'approval_not_found',
      'run_ended',
      'approval_decided',
      'approval_expired',
      'idempotency_key_reused',
    ],
  },
  showApproval: {
    service: 'api',
    method: 'GET',
    path: '/v1/approvals/:token',
    summary: 'The page of a one-time link; it decides nothing',
    role: 'none',
    params: approvalParams,
    query: anyQuery,
    answers: {},
    page: { statuses: approvalPages },
  },
  decideByLink: {
    service: 'api',
    method: 'POST',
    path: '/v1/approvals/:token',
    summary: 'Decide by a one-time link, as its page does',
    role: 'none',
    params: approvalParams,
    query: anyQuery,
    body: approvalFormSchema,
    answers: {},
    page: { statuses: approvalPages },
  },
  rerunRun: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/runs/:id/rerun',
    summary: 'Repeat a run that has ended: whole or from a step, with its event’s data or other',
    role: 'developer',
    params: runParams,
    query: noQuery,
    body: rerunBodySchema,
    answers: { 202: { description: 'stored; the run is on its way', schema: rerunAnswerSchema } },
    errors: [
      'run_not_found',
      'run_not_ended',
      'step_not_found',
      'function_not_found',
      'event_data_too_large',
      'event_data_too_deep',
      'event_refused',
      'idempotency_key_reused',
      'overloaded',
      'database_unavailable',
    ],
  },
  rerunRuns: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/runs/rerun',
    summary: 'Repeat the runs that a filter finds, page by page, the newest first',
    role: 'developer',
    query: noQuery,
    body: rerunRunsBodySchema,
    answers: bulk,
    errors: [
      'cursor_invalid',
      'event_refused',
      'idempotency_key_reused',
      'bulk_rate_exceeded',
      'filter_too_wide',
      'overloaded',
      'database_unavailable',
    ],
  },
  listEvents: {
    service: 'api',
    method: 'GET',
    path: '/v1/events',
    summary: 'Events, newest first',
    role: 'viewer',
    query: eventsQuerySchema,
    answers: ok(eventsPageSchema, 'one page'),
    errors: ['cursor_invalid'],
  },
  getEvent: {
    service: 'api',
    method: 'GET',
    path: '/v1/events/:id',
    summary: 'One event with the runs it started',
    role: 'viewer',
    params: eventParams,
    query: noQuery,
    answers: ok(eventDetailSchema),
    errors: ['event_not_found'],
  },
  listDeadLetters: {
    service: 'api',
    method: 'GET',
    path: '/v1/dead-letters',
    summary: 'What could not be processed and runs that failed, newest first; kept for 30 days',
    role: 'viewer',
    query: deadLettersQuerySchema,
    answers: ok(deadLettersPageSchema, 'one page'),
    errors: ['cursor_invalid'],
  },
  getDeadLetter: {
    service: 'api',
    method: 'GET',
    path: '/v1/dead-letters/:id',
    summary: 'One dead letter, with its message as it came or its run’s error',
    role: 'viewer',
    params: deadLetterParams,
    query: noQuery,
    answers: ok(deadLetterDetailSchema),
    errors: ['dead_letter_not_found'],
  },
  replayDeadLetter: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/dead-letters/:id/replay',
    summary: 'Try again: a failed run is repeated, a message that could not be read goes to its stream again',
    role: 'developer',
    params: deadLetterParams,
    query: noQuery,
    answers: {
      202: { description: 'under way; asking again answers the same', schema: replayAnswerSchema },
    },
    errors: [
      'dead_letter_not_found',
      'dead_letter_not_replayable',
      'run_not_found',
      'function_not_found',
      'stream_unavailable',
      'overloaded',
      'database_unavailable',
    ],
  },
  replayDeadLetters: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/dead-letters/replay',
    summary: 'Replay the dead letters that a filter finds, page by page, the newest first; each once',
    role: 'developer',
    query: noQuery,
    body: replayLettersBodySchema,
    answers: bulk,
    errors: [
      'cursor_invalid',
      'bulk_rate_exceeded',
      'filter_too_wide',
      'stream_unavailable',
      'overloaded',
      'database_unavailable',
    ],
  },
  discardDeadLetter: {
    service: 'api',
    method: 'DELETE',
    path: '/v1/dead-letters/:id',
    summary: 'Remove a dead letter; its run and its event stay',
    role: 'developer',
    params: deadLetterParams,
    query: noQuery,
    answers: ok(discardAnswerSchema, 'removed'),
    errors: ['dead_letter_not_found'],
  },
  listFunctions: {
    service: 'api',
    method: 'GET',
    path: '/v1/functions',
    summary: 'Every function, archived ones included',
    role: 'viewer',
    query: noQuery,
    answers: ok(functionsListSchema),
  },
  getFunction: {
    service: 'api',
    method: 'GET',
    path: '/v1/functions/:id',
    summary: 'One function',
    role: 'viewer',
    params: functionParams,
    query: noQuery,
    answers: ok(functionSchema),
    errors: ['function_not_found'],
  },
  replayEvents: {
    service: 'ingest',
    method: 'POST',
    path: '/v1/functions/:id/replay',
    summary: 'Give stored events of a name to one function, page by page, the newest first',
    role: 'developer',
    params: functionParams,
    query: noQuery,
    body: replayEventsBodySchema,
    answers: bulk,
    errors: [
      'function_not_found',
      'cursor_invalid',
      'event_refused',
      'idempotency_key_reused',
      'bulk_rate_exceeded',
      'filter_too_wide',
      'overloaded',
      'database_unavailable',
    ],
  },
  listBreakers: {
    service: 'api',
    method: 'GET',
    path: '/v1/breakers',
    summary: 'Circuit breakers that are not closed, or have counted a failure lately',
    role: 'viewer',
    query: breakersQuerySchema,
    answers: ok(breakersListSchema),
    errors: ['stream_unavailable'],
  },
  getBreaker: {
    service: 'api',
    method: 'GET',
    path: '/v1/breakers/:id',
    summary: 'The circuit breaker of one function',
    role: 'viewer',
    params: functionParams,
    query: breakerQuerySchema,
    answers: ok(breakerSchema),
    errors: ['function_not_found', 'stream_unavailable'],
  },
  openBreaker: {
    service: 'api',
    method: 'POST',
    path: '/v1/breakers/:id/open',
    summary: 'Force the breaker of a function open: it is not called, not even to see, until it is reset',
    role: 'developer',
    params: functionParams,
    query: noQuery,
    body: openBreakerBodySchema,
    answers: ok(breakerSchema, 'forced open; executors obey within a second'),
    errors: ['function_not_found', 'too_many_forced_breakers', 'stream_unavailable', 'database_unavailable'],
  },
  resetBreaker: {
    service: 'api',
    method: 'POST',
    path: '/v1/breakers/:id/reset',
    summary: 'Close the breaker of a function, whoever opened it; what it had counted is forgotten',
    role: 'developer',
    params: functionParams,
    query: noQuery,
    body: resetBreakerBodySchema,
    answers: ok(breakerSchema, 'closed; executors obey within a second'),
    errors: ['function_not_found', 'stream_unavailable', 'database_unavailable'],
  },
  publishMessage: {
    service: 'api',
    method: 'POST',
    path: '/v1/topics/:topic/messages',
    summary: 'Publish a message to a topic',
    role: 'developer',
    params: topicParams,
    query: noQuery,
    body: publishBodySchema,
    answers: { 202: { description: 'published; kept for 7 days at most', schema: publishAnswerSchema } },
    errors: ['topic_data_too_large', 'topic_data_too_deep', 'stream_unavailable'],
  },
  watchTopic: {
    service: 'api',
    method: 'GET',
    path: '/v1/topics/:topic/messages',
    summary:
      'Messages of a topic, or of all that a pattern such as `orders.*` names, from now on or from a message on',
    role: 'viewer',
    params: topicPatternParams,
    query: topicQuery,
    answers: {},
    stream: { event: 'message', schema: topicMessageSchema },
    errors: ['too_many_subscriptions', 'too_many_streams', 'stream_unavailable'],
  },
  listApps: {
    service: 'api',
    method: 'GET',
    path: '/v1/apps',
    summary: 'Every app',
    role: 'viewer',
    query: noQuery,
    answers: ok(appsListSchema),
  },
  registerApp: {
    service: 'api',
    method: 'PUT',
    path: '/v1/apps/:id',
    summary: 'Register an app with all its functions; those it no longer has are archived',
    role: 'developer',
    params: appParams,
    query: noQuery,
    body: appManifestSchema,
    answers: ok(registerAnswerSchema, 'registered'),
    errors: ['app_invalid', 'function_id_taken'],
  },
  getIdentity: {
    service: 'api',
    method: 'GET',
    path: '/v1/me',
    summary: 'The project, environment and role of the key',
    role: 'viewer',
    query: noQuery,
    answers: ok(identitySchema),
  },
  getOpenapi: {
    service: 'api',
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'This description',
    role: 'none',
    query: noQuery,
    answers: ok(z.record(z.string(), z.unknown()), 'OpenAPI 3.1'),
  },
} as const satisfies Record<string, Route>;
