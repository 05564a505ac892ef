/**
 * The doors for HTTP: events, invocations, reruns and replays; that of webhooks is in webhook-routes.ts. The list of events shares its path
 * with the first. Authenticates, makes room for the body before it is read, and validates
 * before anything of a request is kept.
 */
import type { ApiStore, Authenticator } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { limits, routes, systemEventNames } from '@ironflow/schema';
import type { EventSource, NeededAccess, Route } from '@ironflow/schema';
import {
  authenticate,
  enterRoute,
  principalOf,
  refuseUnstorable,
  tellAudit,
  watchAudit,
  watchQuotas,
} from '@ironflow/service';
import type { AuditTrail, Clock, HttpApp, Metrics, QuotaKeeper } from '@ironflow/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Acceptance } from './acceptance.js';
import type { BulkReruns } from './bulk-reruns.js';
import { prepareEvents, prepareInvocation } from './emitted-event.js';
import type { PreparedEvent } from './emitted-event.js';
import type { Emit } from './emission.js';
import type { FunctionDirectory } from './function-directory.js';
import { addJsonParser } from './json-parser.js';
import type { Replay } from './replays.js';
import type { Rerun } from './reruns.js';
import type { ScheduleFirings } from './schedule-firings.js';
import { formatWaitAnswer } from './wait-answer.js';
import { addWebhookRoutes } from './webhook-routes.js';
import type { WebhookRoutesOptions } from './webhook-routes.js';
import type { WebhookRoom } from './webhook-room.js';

export interface HttpRoutesOptions {
  authenticator: Authenticator;
  auditTrail: AuditTrail;
  quotas: Pick<QuotaKeeper, 'takeRequest'>;
  acceptance: Pick<Acceptance, 'reserve'>;
  emit: Emit;
  functions: FunctionDirectory;
  rerun: Rerun;
  bulk: BulkReruns;
  replay: Replay;
  schedules: ScheduleFirings;
  events: Pick<ApiStore, 'listEvents'>;
  webhooks: Pick<WebhookRoutesOptions, 'sources' | 'log' | 'clock'> & { room: WebhookRoom };
  metrics: Metrics;
  clock: Clock;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Lets go of the room for the body; may be called twice. */
    releaseBody: (() => void) | null;
  }
}

export function addHttpRoutes(app: HttpApp, options: HttpRoutesOptions): void {
  // A scope of its own: the parser and the hooks are for these routes only.
  void app.register(async (routed: HttpApp) => {
    addJsonParser(routed);
    refuseUnstorable(routed);
    countRefusals(routed, options.metrics);
    routed.decorateRequest('principal', null);
    watchAudit(routed, options.auditTrail);
    watchQuotas(routed, options.quotas);
    routed.decorateRequest('releaseBody', null);
    addEmitEvents(routed, options);
    addListEvents(routed, options);
    addInvokeFunction(routed, options);
    addRerunRun(routed, options);
    addReplayDeadLetter(routed, options);
    addBulkReruns(routed, options);
    addSchedules(routed, options);
    const { room, ...webhooks } = options.webhooks;
    addWebhookRoutes(routed, {
      ...webhooks,
      emit: options.emit,
      makeRoom: (request, reply, bodyBytesMax) =>
        makeRoom((bytes) => room.reserve(request.ip, bytes), request, reply, bodyBytesMax),
    });
  });
}

function addEmitEvents(app: HttpApp, options: HttpRoutesOptions): void {
  const { path, query, body } = routes.emitEvents;
  app.post(
    path,
    { schema: { querystring: query, body }, onRequest: enter(options, routes.emitEvents) },
    async (request, reply) => {
      const isWaiting = request.query.wait !== undefined;
      const events = prepareEvents(request.body, { nowMs: options.clock.now(), isWaiting });
      return answer(options.emit, request, reply, { source: 'http', events, waitMs: request.query.wait });
    },
  );
}

function addListEvents(app: HttpApp, { authenticator, events }: HttpRoutesOptions): void {
  const { path, query } = routes.listEvents;
  app.get(
    path,
    {
      schema: { querystring: query },
      onRequest: [enterRoute(routes.listEvents), authenticate(authenticator, routes.listEvents)],
    },
    (request) => events.listEvents(principalOf(request).scope.environmentId, request.query),
  );
}

function addInvokeFunction(app: HttpApp, options: HttpRoutesOptions): void {
  const { path, query, body } = routes.invokeFunction;
  app.post(
    path,
    { schema: { querystring: query, body }, onRequest: enter(options, routes.invokeFunction) },
    async (request, reply) => {
      const { function: functionId, ...given } = request.body;
      const event = prepareInvocation(systemEventNames.invoke(functionId), given);
      if (!(await options.functions.has(principalOf(request).scope.environmentId, functionId))) {
        const message = 'this environment has no active function of that id';
        throw new IronflowError('not_found', 'function_not_found', message, { field: 'function' });
      }
      return answer(options.emit, request, reply, {
        source: 'invoke',
        events: [event],
        waitMs: request.query.wait,
      });
    },
  );
}

function addRerunRun(app: HttpApp, options: HttpRoutesOptions): void {
  const { path, params, query, body } = routes.rerunRun;
  app.post(
    path,
    { schema: { params, querystring: query, body }, onRequest: enter(options, routes.rerunRun) },
    async (request, reply) => {
      const rerun = await options.rerun({
        ...request.body,
        scope: principalOf(request).scope,
        runId: request.params.id,
        traceparent: headerOf(request, 'traceparent'),
      });
      tellAudit(request, { details: { eventId: rerun.eventId } });
      return reply.code(202).send(rerun);
    },
  );
}

function addReplayDeadLetter(app: HttpApp, options: HttpRoutesOptions): void {
  const { path, params, query } = routes.replayDeadLetter;
  app.post(
    path,
    { schema: { params, querystring: query }, onRequest: enter(options, routes.replayDeadLetter) },
    async (request, reply) => {
      const replayed = await options.replay({
        scope: principalOf(request).scope,
        letterId: request.params.id,
        traceparent: headerOf(request, 'traceparent'),
      });
      return reply.code(202).send(replayed);
    },
  );
}

function addBulkReruns(app: HttpApp, options: HttpRoutesOptions): void {
  const { bulk } = options;
  const { rerunRuns, replayEvents, replayDeadLetters } = routes;
  app.post(
    rerunRuns.path,
    {
      schema: { querystring: rerunRuns.query, body: rerunRuns.body },
      onRequest: enter(options, rerunRuns),
    },
    async (request, reply) => {
      const answered = await bulk.rerunRuns(principalOf(request).scope, request.body);
      tellAudit(request, { details: { count: answered.count } });
      return reply.code(request.body.dryRun ? 200 : 202).send(answered);
    },
  );
  app.post(
    replayEvents.path,
    {
      schema: { params: replayEvents.params, querystring: replayEvents.query, body: replayEvents.body },
      onRequest: enter(options, replayEvents),
    },
    async (request, reply) => {
      const { scope } = principalOf(request);
      const answered = await bulk.replayEvents(scope, request.params.id, request.body);
      tellAudit(request, { details: { count: answered.count } });
      return reply.code(request.body.dryRun ? 200 : 202).send(answered);
    },
  );
  app.post(
    replayDeadLetters.path,
    {
      schema: { querystring: replayDeadLetters.query, body: replayDeadLetters.body },
      onRequest: enter(options, replayDeadLetters),
    },
    async (request, reply) => {
      const answered = await bulk.replayLetters(principalOf(request).scope, request.body);
      tellAudit(request, { details: { count: answered.count } });
      return reply.code(request.body.dryRun ? 200 : 202).send(answered);
    },
  );
}

function addSchedules(app: HttpApp, options: HttpRoutesOptions): void {
  const { schedules } = options;
  const { triggerSchedule, backfillSchedule } = routes;
  app.post(
    triggerSchedule.path,
    {
      schema: {
        params: triggerSchedule.params,
        querystring: triggerSchedule.query,
        body: triggerSchedule.body,
      },
      onRequest: enter(options, triggerSchedule),
    },
    async (request, reply) => {
      const answered = await schedules.trigger({
        scope: principalOf(request).scope,
        scheduleId: request.params.id,
        idempotencyKey: request.body?.idempotencyKey,
        traceparent: headerOf(request, 'traceparent'),
      });
      return reply.code(202).send(answered);
    },
  );
  app.post(
    backfillSchedule.path,
    {
      schema: {
        params: backfillSchedule.params,
        querystring: backfillSchedule.query,
        body: backfillSchedule.body,
      },
      onRequest: enter(options, backfillSchedule),
    },
    async (request, reply) => {
      const answered = await schedules.backfill(principalOf(request).scope, request.params.id, request.body);
      tellAudit(request, { details: { count: answered.count } });
      return reply.code(request.body.dryRun ? 200 : 202).send(answered);
    },
  );
}

/** Whoever may enter gets room for the body, which is about to be read, until it becomes events or the answer is over. */
function enter({ authenticator, acceptance }: HttpRoutesOptions, route: Route & NeededAccess) {
  return [
    enterRoute(route),
    authenticate(authenticator, route),
    async (request: FastifyRequest, reply: FastifyReply): Promise<void> =>
      makeRoom((bytes) => acceptance.reserve(bytes), request, reply, limits.requestBodyBytesMax),
  ];
}

/** Until the body becomes events or the answer is over. */
function makeRoom(
  reserve: (bytes: number) => () => void,
  request: FastifyRequest,
  reply: FastifyReply,
  bodyBytesMax: number,
): void {
  const release = reserve(bodyBytesOf(request, bodyBytesMax));
  request.releaseBody = release;
  reply.raw.once('close', release);
  if (reply.raw.destroyed) release();
}

/** As announced; as large as it may get when it comes in chunks. */
function bodyBytesOf({ headers }: FastifyRequest, bodyBytesMax: number): number {
  if (headers['transfer-encoding'] !== undefined) return bodyBytesMax;
  return Math.min(Number(headers['content-length'] ?? 0), bodyBytesMax);
}

interface Emitted {
  source: EventSource;
  events: PreparedEvent[];
  waitMs: number | undefined;
}

async function answer(
  emit: Emit,
  request: FastifyRequest,
  reply: FastifyReply,
  emitted: Emitted,
): Promise<FastifyReply> {
  // Its events are counted from here on.
  request.releaseBody?.();
  const { ids, wait } = await emit({
    ...emitted,
    scope: principalOf(request).scope,
    traceparent: headerOf(request, 'traceparent'),
  });
  void reply.header('content-type', 'application/json; charset=utf-8').serializer(asText);
  if (wait === undefined) return reply.code(202).send(JSON.stringify({ ids }));
  reply.raw.once('close', () => wait.cancel());
  // Whoever left before the commit has closed it already.
  if (reply.raw.destroyed) wait.cancel();
  const { isRouted, runs } = await wait.answer;
  // 200 promises that every run is in the answer.
  return reply.code(isRouted ? 200 : 202).send(formatWaitAnswer(ids, runs));
}

function asText(payload: unknown): string {
  return payload as string;
}

function headerOf(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : undefined;
}

function countRefusals(app: HttpApp, metrics: Metrics): void {
  const refused = metrics.counter(
    'ingest_requests_refused_total',
    'Requests not accepted, by the code of the error',
    ['reason'],
  );
  app.addHook('onError', async (_request, _reply, error) => {
    const reason = error instanceof IronflowError ? error.code : 'other';
    refused.add(1, { reason });
  });
}
