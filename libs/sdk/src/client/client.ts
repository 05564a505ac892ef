/** `createClient`: emit events, start functions, read runs and events, watch a run to its end. */
import { randomUUID } from 'node:crypto';
import type {
  App,
  AppManifest,
  ApprovalLinkAnswer,
  DeadLetterDetail,
  DecideAnswer,
  DeadLettersPage,
  DeadLettersQuery,
  DiscardAnswer,
  EmitAnswer,
  EmittedEvent,
  EnvironmentResource,
  EventDetail,
  EventsPage,
  EventsQuery,
  FunctionResource,
  Identity,
  KvBucket,
  PublishAnswer,
  Queue,
  QueuesList,
  RegisterAnswer,
  ReplayAnswer,
  RerunAnswer,
  Run,
  RunDetail,
  RunLogLine,
  RunLogsPage,
  RunLogsQuery,
  RunsPage,
  RunsQuery,
  RunUpdate,
  CancelScheduledEventAnswer,
  ScheduledEventsPage,
  ScheduledEventsQuery,
  SetFunctionLimitsBody,
  SignalAnswer,
  TopicMessage,
  Verdict,
} from '@ironflow/schema';
import { parseTraceparent } from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import { readPlatform } from '../environment.js';
import type { PlatformOptions } from '../environment.js';
import { emittedEvent } from '../event-to-emit.js';
import type { EventToEmit } from '../event-to-emit.js';
import type { IronflowFunction } from '../function.js';
import { createAudit } from './audit.js';
import type { Audit } from './audit.js';
import { createBreakers } from './breakers.js';
import type { Breakers } from './breakers.js';
import { cancelInPages, inPages } from './bulk.js';
import type {
  BulkOptions,
  BulkResult,
  CancelFilter,
  DeadLetterFilter,
  ReplayFilter,
  RerunFilter,
} from './bulk.js';
import { createConfig } from './config.js';
import type { Config } from './config.js';
import { createExports } from './export.js';
import type { Exports } from './export.js';
import { createHttp } from './http.js';
import type { Http } from './http.js';
import { createKeys, createSigningKeys } from './keys.js';
import type { Keys, SigningKeys } from './keys.js';
import { createQuotas } from './quotas.js';
import type { QuotasClient } from './quotas.js';
import { createRetention } from './retention.js';
import type { RetentionClient } from './retention.js';
import { createKv, listKvBuckets } from './kv.js';
import type { Kv } from './kv.js';
import { followRunLogs, listRunLogs } from './run-logs.js';
import type { FollowLogsOptions } from './run-logs.js';
import { createSchedules } from './schedules.js';
import type { Schedules } from './schedules.js';
import { createSecrets } from './secrets.js';
import type { Secrets } from './secrets.js';
import { subscribe } from './subscribe.js';
import { watchRun } from './watch.js';
import { createCredentials } from './credentials.js';
import type { Credentials } from './credentials.js';
import { createWebhooks } from './webhooks.js';
import type { Webhooks } from './webhooks.js';

export interface WaitOptions {
  /** Answer when the runs have ended, or with their state after so long; at most a minute. */
  wait?: Duration;
  signal?: AbortSignal;
  /** W3C trace context the runs belong to. */
  traceparent?: string;
}

export interface RerunOptions {
  /** Takes the place of the data of the run's event. */
  data?: unknown;
  /** The id of a step: those that settled before it are taken over instead of run again. */
  fromStep?: string;
  /** The same key within 24 hours starts nothing new. Default: a fresh one, so that repeating the request is safe. */
  idempotencyKey?: string;
}

export interface InvokeOptions extends WaitOptions {
  /** The same key within 24 hours starts nothing new. Default: a fresh one, so that repeating the request is safe. */
  idempotencyKey?: string;
  /** Ties events and runs together; by default that of the event it becomes. */
  correlationId?: string;
  /** What led to it, such as the id of an event. */
  causationId?: string;
}

/** What the function's schema takes; may be left out only where it takes nothing as well. */
export type InvokeArguments<Input> = undefined extends Input
  ? [data?: Input, options?: InvokeOptions]
  : [data: Input, options?: InvokeOptions];

export interface Client {
  /** Stores one event or up to 1,000. Each gets an idempotency key unless it has one, so a repeated request is safe. */
  emit(event: EventToEmit | readonly EventToEmit[], options?: WaitOptions): Promise<EmitAnswer>;
  /** Starts one function, by its id or as it was created. */
  invoke<Input>(
    target: IronflowFunction<unknown, unknown, Input> | string,
    ...given: InvokeArguments<NoInfer<Input>>
  ): Promise<EmitAnswer>;
  readonly runs: {
    list(query?: Partial<RunsQuery>): Promise<RunsPage>;
    get(runId: string): Promise<RunDetail>;
    /** What its `logger` wrote, the oldest lines first; kept as well as can be. */
    logs(runId: string, query?: Partial<RunLogsQuery>): Promise<RunLogsPage>;
    /** The same, as it comes, until the run has ended. */
    followLogs(runId: string, options?: FollowLogsOptions): AsyncIterableIterator<RunLogLine>;
    /**
     * Answers once that is stored. What runs of the run is aborted within a second, and it ends; one that waits for a busy
     * worker ends when that is free. Rejects with `run_ended` if it has ended otherwise.
     */
    cancel(runId: string): Promise<Run>;
    /**
     * Lets a run that is pinned to a build go on with workers of any; its code has to fit what is recorded. Refused (`run_active`)
     * while a worker may have it.
     */
    unpin(runId: string): Promise<Run>;
    /** Cancels what a filter finds among the runs that have not ended, page by page; answers how many. */
    cancelAll(
      filter: CancelFilter,
      options?: { dryRun?: boolean; signal?: AbortSignal },
    ): Promise<{ count: number }>;
    /**
     * Repeats a run that has ended, by a new event for its function alone. Answers once that is stored; rejects with
     * `run_not_ended` before the run has.
     */
    rerun(runId: string, options?: RerunOptions): Promise<RerunAnswer>;
    /** Repeats all runs that the filter finds, whole, at the rate that the platform allows; answers when all are stored. */
    rerunAll(filter: RerunFilter, options?: BulkOptions): Promise<BulkResult>;
  };
  /**
   * Sends a signal to a run: for its step `waitForSignal` of that name, which waits for it now or later. Rejects with
   * `run_ended` once the run has ended.
   */
  signal(runId: string, name: string, data?: unknown): Promise<SignalAnswer>;
  readonly topics: {
    /** The same key for the same topic within 10 minutes publishes nothing more. */
    publish(
      topic: string,
      data?: unknown,
      options?: { idempotencyKey?: string; signal?: AbortSignal },
    ): Promise<PublishAnswer>;
    /**
     * Messages of a topic, or of all that a pattern such as `orders.*` names, from now on, or those behind the message of an
     * id (`after`) that are still kept. Connects again when it is cut off, and goes on behind the last message it gave: what is
     * no longer kept by then (7 days, or less when much is published) it does not give.
     */
    subscribe(
      pattern: string,
      options?: { after?: string; signal?: AbortSignal },
    ): AsyncIterableIterator<TopicMessage>;
  };
  readonly approvals: {
    /** Decides, once, what a run's `step.approve` of that name waits for. Rejects with `approval_decided` if somebody has. */
    decide(runId: string, name: string, verdict: Verdict): Promise<DecideAnswer>;
    /** A one-time page on which it can be decided: whoever has the address can. */
    createLink(runId: string, name: string, options?: { signal?: AbortSignal }): Promise<{ url: string }>;
  };
  readonly audit: Audit;
  readonly exports: Exports;
  readonly breakers: Breakers;
  readonly quotas: QuotasClient;
  readonly retention: RetentionClient;
  readonly events: {
    list(query?: Partial<EventsQuery>): Promise<EventsPage>;
    get(eventId: string): Promise<EventDetail>;
  };
  /** Events that were emitted with `at` and are not due yet. */
  readonly scheduledEvents: {
    /** The next one first. */
    list(query?: Partial<ScheduledEventsQuery>): Promise<ScheduledEventsPage>;
    /** It is never delivered. Rejects with `scheduled_event_not_found` once it has been. */
    cancel(eventId: string): Promise<CancelScheduledEventAnswer>;
  };
  /** The cron triggers of all functions, by ids such as `report.nightly`. */
  readonly schedules: Schedules;
  /** What could not be processed, and runs that failed; kept for 30 days. */
  readonly deadLetters: {
    list(query?: Partial<DeadLettersQuery>): Promise<DeadLettersPage>;
    get(letterId: string): Promise<DeadLetterDetail>;
    /** Repeats a failed run, or sends a message that could not be read to its stream again; once, however often it is asked. */
    replay(letterId: string): Promise<ReplayAnswer>;
    /**
     * Replays all that the filter finds and that were not replayed yet, at the rate that the platform allows. Asked again, it
     * goes on with what is left.
     */
    replayAll(filter?: DeadLetterFilter, options?: Omit<BulkOptions, 'idempotencyKey'>): Promise<BulkResult>;
    /** Removes the letter; its run and its event stay. */
    discard(letterId: string): Promise<DiscardAnswer>;
  };
  readonly functions: {
    /** Archived ones included. */
    list(): Promise<FunctionResource[]>;
    get(functionId: string): Promise<FunctionResource>;
    /** No run of it begins any more: they queue until it goes on. Those that have begun go on to their end. */
    pause(functionId: string): Promise<FunctionResource>;
    resume(functionId: string): Promise<FunctionResource>;
    /** Bounds its activations at once beside what its code says; `null`: as the code says. Runs that come from now on go by it. */
    setLimits(functionId: string, limits: SetFunctionLimitsBody): Promise<FunctionResource>;
    /** What waits by its flow control, for what, and which runs hold the slots. */
    queue(functionId: string): Promise<Queue>;
    /** Gives stored events to one function, whatever its triggers say, at the rate that the platform allows. */
    replay(functionId: string, filter: ReplayFilter, options?: BulkOptions): Promise<BulkResult>;
  };
  readonly queues: {
    /** Of the functions with runs that wait, and those that are paused. */
    list(): Promise<QueuesList>;
  };
  /** That of the key. */
  readonly environment: {
    get(): Promise<EnvironmentResource>;
    /** No run of any function begins any more: they queue until it goes on. Those that have begun go on to their end. */
    pause(): Promise<EnvironmentResource>;
    /** Functions that are paused themselves stay so. */
    resume(): Promise<EnvironmentResource>;
  };
  readonly apps: {
    /** With the builds that still have runs. */
    list(): Promise<App[]>;
    register(manifest: AppManifest, options?: { signal?: AbortSignal }): Promise<RegisterAnswer>;
  };
  /** Of the environment. In a handler there is a `secrets` of its own, which remembers for a while. */
  readonly secrets: Secrets;
  /** Config documents of the environment. In a handler there is a `config` of its own, which remembers for a while. */
  readonly config: Config;
  /** A key-value bucket of the environment; nothing is asked of the platform yet. */
  kv(bucket: string): Kv;
  kvBuckets(): Promise<KvBucket[]>;
  /** Sources of webhooks: addresses to which a provider sends what becomes events. */
  readonly webhooks: Webhooks;
  /** API keys of the environment, for a key of role admin. */
  readonly keys: Keys;
  /** What calls of push endpoints are signed with. */
  readonly signingKeys: SigningKeys;
  /** Credentials for NATS: events are emitted by publishing them. */
  readonly credentials: Credentials;
  /** The run's state now and after each change; ends with its terminal state. Connects again when it is cut off. */
  watch(runId: string, options?: { signal?: AbortSignal }): AsyncIterableIterator<RunUpdate>;
  /** Whose key this is. */
  identity(): Promise<Identity>;
}

/** Throws a ConfigurationError when there is no key. Failures of requests are IronflowApiErrors. */
export function createClient(options: PlatformOptions = {}): Client {
  const platform = readPlatform(options);
  const http = createHttp(platform);
  const post = (path: string, content: unknown, { wait, signal, traceparent }: WaitOptions) => {
    const body = jsonOf(content);
    const waitMs = wait === undefined ? undefined : parseDuration(wait);
    if (traceparent !== undefined && parseTraceparent(traceparent) === undefined) {
      throw new ConfigurationError('traceparent: must be a W3C trace context', 'traceparent');
    }
    return http.json<EmitAnswer>({
      method: 'POST',
      path,
      body,
      signal,
      ...(traceparent === undefined ? {} : { headers: { traceparent } }),
      ...(waitMs === undefined ? {} : { waitMs, query: { wait: `${waitMs}ms` } }),
    });
  };
  const get = getFrom(http);
  return {
    emit: async (event, emitOptions = {}) =>
      post('/v1/events', isList(event) ? event.map(keyed) : keyed(event), emitOptions),
    invoke: async (target, ...[data, options = {}]) => {
      const id = typeof target === 'string' ? target : target.id;
      const { idempotencyKey = randomUUID(), correlationId, causationId, ...invokeOptions } = options;
      const body = { function: id, data, idempotencyKey, correlationId, causationId };
      return post('/v1/invocations', body, invokeOptions);
    },
    runs: createRuns(http),
    signal: async (runId, name, data) => {
      const body = jsonOf({ name, data, id: randomUUID() });
      return http.json({ method: 'POST', path: `/v1/runs/${encodeURIComponent(runId)}/signals`, body });
    },
    topics: {
      publish: async (topic, data, { idempotencyKey = randomUUID(), signal } = {}) =>
        http.json({
          method: 'POST',
          path: `/v1/topics/${encodeURIComponent(topic)}/messages`,
          body: jsonOf({ data, idempotencyKey }),
          signal,
        }),
      subscribe: (pattern, options = {}) => subscribe({ ...options, http, pattern }),
    },
    approvals: {
      decide: async (runId, name, { approved, comment }) => {
        const body = jsonOf({ name, approved, comment, id: randomUUID() });
        return http.json({ method: 'POST', path: `/v1/runs/${encodeURIComponent(runId)}/approvals`, body });
      },
      createLink: async (runId, name, { signal } = {}) => {
        const path = `/v1/runs/${encodeURIComponent(runId)}/approval-links`;
        const body = jsonOf({ name });
        const link = await http.json<ApprovalLinkAnswer>({ method: 'POST', path, body, signal });
        return { url: platform.url + link.path };
      },
    },
    events: {
      list: (query) => get('/v1/events', query),
      get: (eventId) => get(`/v1/events/${encodeURIComponent(eventId)}`),
    },
    scheduledEvents: createScheduledEvents(http),
    schedules: createSchedules(http),
    audit: createAudit(http),
    exports: createExports(http),
    breakers: createBreakers(http),
    quotas: createQuotas(http),
    retention: createRetention(http),
    deadLetters: createDeadLetters(http),
    functions: createFunctions(http),
    queues: { list: () => get('/v1/queues') },
    environment: {
      get: () => get('/v1/environment'),
      pause: () => http.json({ method: 'POST', path: '/v1/environment/pause' }),
      resume: () => http.json({ method: 'POST', path: '/v1/environment/resume' }),
    },
    apps: createApps(http),
    secrets: createSecrets(http),
    config: createConfig(http),
    kv: (bucket) => createKv(http, bucket),
    kvBuckets: () => listKvBuckets(http),
    webhooks: createWebhooks(http, platform.url),
    keys: createKeys(http),
    signingKeys: createSigningKeys(http),
    credentials: createCredentials(http),
    watch: (runId, { signal } = {}) => watchRun({ http, runId, signal }),
    identity: () => get('/v1/me'),
  };
}

function createApps(http: Http): Client['apps'] {
  return {
    list: async () => (await getFrom(http)<{ apps: App[] }>('/v1/apps')).apps,
    register: (manifest, { signal } = {}) =>
      http.json({
        method: 'PUT',
        path: `/v1/apps/${encodeURIComponent(manifest.id)}`,
        body: JSON.stringify(manifest),
        signal,
      }),
  };
}

function createRuns(http: Http): Client['runs'] {
  const get = getFrom(http);
  return {
    list: (query) => get('/v1/runs', query),
    get: (runId) => get(`/v1/runs/${encodeURIComponent(runId)}`),
    logs: (runId, query) => listRunLogs(http, runId, query),
    followLogs: (runId, followOptions) => followRunLogs(http, runId, followOptions),
    cancel: (runId) => http.json({ method: 'POST', path: `/v1/runs/${encodeURIComponent(runId)}/cancel` }),
    rerun: async (runId, { idempotencyKey = randomUUID(), ...options } = {}) =>
      http.json({
        method: 'POST',
        path: `/v1/runs/${encodeURIComponent(runId)}/rerun`,
        body: jsonOf({ ...options, idempotencyKey }),
      }),
    unpin: (runId) => http.json({ method: 'POST', path: `/v1/runs/${encodeURIComponent(runId)}/unpin` }),
    cancelAll: (filter, options) => cancelInPages(http, filter, options),
    rerunAll: (filter, { idempotencyKey = randomUUID(), ...options } = {}) =>
      inPages({ ...options, idempotencyKey, http, path: '/v1/runs/rerun', filter }),
  };
}

function createScheduledEvents(http: Http): Client['scheduledEvents'] {
  const get = getFrom(http);
  return {
    list: (query) => get('/v1/scheduled-events', query),
    cancel: (eventId) =>
      http.json({ method: 'DELETE', path: `/v1/scheduled-events/${encodeURIComponent(eventId)}` }),
  };
}

function createFunctions(http: Http): Client['functions'] {
  const get = getFrom(http);
  const pathOf = (functionId: string) => `/v1/functions/${encodeURIComponent(functionId)}`;
  return {
    list: async () => (await get<{ functions: FunctionResource[] }>('/v1/functions')).functions,
    get: (functionId) => get(pathOf(functionId)),
    pause: (functionId) => http.json({ method: 'POST', path: `${pathOf(functionId)}/pause` }),
    resume: (functionId) => http.json({ method: 'POST', path: `${pathOf(functionId)}/resume` }),
    setLimits: (functionId, limits) =>
      http.json({ method: 'PUT', path: `${pathOf(functionId)}/limits`, body: JSON.stringify(limits) }),
    queue: (functionId) => get(`${pathOf(functionId)}/queue`),
    replay: (functionId, filter, { idempotencyKey = randomUUID(), ...options } = {}) =>
      inPages({ ...options, idempotencyKey, http, path: `${pathOf(functionId)}/replay`, filter }),
  };
}

function createDeadLetters(http: Http): Client['deadLetters'] {
  const get = getFrom(http);
  return {
    list: (query) => get('/v1/dead-letters', query),
    get: (letterId) => get(`/v1/dead-letters/${encodeURIComponent(letterId)}`),
    replay: (letterId) =>
      http.json({ method: 'POST', path: `/v1/dead-letters/${encodeURIComponent(letterId)}/replay` }),
    replayAll: (filter = {}, options = {}) =>
      inPages({ ...options, http, path: '/v1/dead-letters/replay', filter }),
    discard: (letterId) =>
      http.json({ method: 'DELETE', path: `/v1/dead-letters/${encodeURIComponent(letterId)}` }),
  };
}

function getFrom(http: Http) {
  return <Answer>(path: string, query: HttpQuery = {}) => http.json<Answer>({ method: 'GET', path, query });
}

/** Once, and before anything is sent: what is no JSON now will not be on the next try. */
function jsonOf(content: unknown): string {
  try {
    return JSON.stringify(content);
  } catch (cause) {
    const bigint = cause instanceof TypeError && cause.message.includes('BigInt');
    const problem = bigint
      ? 'it contains a BigInt'
      : 'it refers to itself, is too deep, or its toJSON() threw';
    throw new ConfigurationError(`data: cannot be sent as JSON: ${problem}`, 'data');
  }
}

type HttpQuery = Readonly<Record<string, string | number | undefined>>;

function keyed(event: EventToEmit): EmittedEvent {
  const { idempotencyKey = randomUUID(), ...rest } = emittedEvent(event);
  return { ...rest, idempotencyKey };
}

function isList(event: EventToEmit | readonly EventToEmit[]): event is readonly EventToEmit[] {
  return Array.isArray(event);
}
