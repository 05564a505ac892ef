/** The routes: authenticates, validates, asks the store, and says 404 alike for what is absent and what is another's. */
import { randomBytes } from 'node:crypto';
import { registerApp, setFunctionLimits, setPaused } from '@ironflow/database';
import type { ApiStore, Database, FunctionLimits, Pause, RememberingAuthenticator } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Notices, Topics } from '@ironflow/jetstream';
import { createId, limits, messageIdSchema, routes } from '@ironflow/schema';
import type { Identity } from '@ironflow/schema';
import { principalOf, refuseUnstorable, tellAudit, watchAudit, watchQuotas } from '@ironflow/service';
import type { AuditTrail, HttpApp, QuotaKeeper } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { addApprovals } from './approvals.js';
import type { ApprovalsOptions } from './approvals.js';
import { addAudit } from './audit.js';
import type { AuditOptions } from './audit.js';
import { addBreakers } from './breakers.js';
import type { BreakersOptions } from './breakers.js';
import { addKeys } from './keys.js';
import type { KeysOptions } from './keys.js';
import { addCredentials } from './credentials.js';
import type { CredentialsOptions } from './credentials.js';
import { addConfig } from './config-documents.js';
import type { ConfigOptions } from './config-documents.js';
import { checkManifest } from './manifest-rules.js';
import { addKv } from './kv.js';
import type { KvOptions } from './kv.js';
import { isStillAllowed, openStream } from './open-stream.js';
import { describeOpenapi } from './openapi.js';
import { payloadText } from './payload-text.js';
import { addExport } from './export.js';
import type { ExportOptions } from './export.js';
import { addQuotas } from './quotas.js';
import type { QuotasOptions } from './quotas.js';
import type { RegistryAnnouncer } from './registry-announcer.js';
import { addRunLogs } from './run-logs.js';
import { runNotFound } from './run-streams.js';
import type { RunStreams } from './run-streams.js';
import { addRetention } from './retention.js';
import type { RetentionOptions } from './retention.js';
import { addSchedules } from './schedules.js';
import type { SchedulesOptions } from './schedules.js';
import { addSecrets } from './secrets.js';
import type { SecretsOptions } from './secrets.js';
import { serve } from './serve-route.js';
import { addTenants } from './tenants.js';
import type { TenantsOptions } from './tenants.js';
import type { TopicStreams } from './topic-streams.js';
import { addWebhooks } from './webhooks.js';
import type { WebhooksOptions } from './webhooks.js';

export interface HttpRoutesOptions
  extends
    ApprovalsOptions,
    AuditOptions,
    BreakersOptions,
    ConfigOptions,
    CredentialsOptions,
    ExportOptions,
    KeysOptions,
    KvOptions,
    QuotasOptions,
    RetentionOptions,
    SchedulesOptions,
    SecretsOptions,
    TenantsOptions,
    WebhooksOptions {
  authenticator: RememberingAuthenticator;
  auditTrail: AuditTrail;
  quotaKeeper: Pick<QuotaKeeper, 'takeRequest'>;
  database: Database;
  store: ApiStore;
  announcer: RegistryAnnouncer;
  streams: RunStreams;
  topicStreams: TopicStreams;
  topics: Pick<Topics, 'publish'>;
  notices: Pick<
    Notices,
    | 'publishRun'
    | 'publishStop'
    | 'publishWaits'
    | 'publishCircuit'
    | 'publishAccess'
    | 'publishQuotas'
    | 'publishConfig'
  >;
  version: string;
}

export function addHttpRoutes(app: HttpApp, options: HttpRoutesOptions): void {
  void app.register(async (routed: HttpApp) => {
    routed.decorateRequest('principal', null);
    routed.decorateRequest('operator', null);
    watchAudit(routed, options.auditTrail);
    watchQuotas(routed, options.quotaKeeper);
    refuseUnstorable(routed);
    addRuns(routed, options);
    addRunLogs(routed, options);
    addApprovals(routed, options);
    addEvents(routed, options);
    addTopics(routed, options);
    addDeadLetters(routed, options);
    addWebhooks(routed, options);
    addCredentials(routed, options);
    addSecrets(routed, options);
    addConfig(routed, options);
    addKv(routed, options);
    addRegistry(routed, options);
    addSchedules(routed, options);
    addPauses(routed, options);
    addQueues(routed, options);
    addBreakers(routed, options);
    addQuotas(routed, options);
    addRetention(routed, options);
    addAudit(routed, options);
    addExport(routed, options);
    addKeys(routed, options);
    addTenants(routed, options);
    addIdentity(routed, options);
    addOpenapi(routed, options);
  });
}

function addRuns(app: HttpApp, options: HttpRoutesOptions): void {
  const { store, streams, authenticator } = options;
  serve(app, options, routes.listRuns, (request) => store.listRuns(environmentOf(request), request.query));
  serve(app, options, routes.getRun, async (request) => {
    const run = await store.getRun(environmentOf(request), request.params.id);
    if (run === undefined) throw runNotFound();
    return run;
  });
  serve(app, options, routes.cancelRun, async (request, reply) => {
    const { scope } = principalOf(request);
    const answer = await store.requestStop(scope.environmentId, request.params.id);
    if (answer.kind === 'not_found') throw runNotFound();
    if (answer.kind === 'ended') {
      throw new IronflowError('conflict', 'run_ended', `the run has ended: it is ${answer.status}`);
    }
    const { id: runId, mode, appId, functionId, eventId } = answer.run;
    // Also the second time: whoever was to hear of it may not have.
    if (answer.run.status !== 'cancelled') {
      options.notices.publishStop({ scope, runId, mode, appId, ...answer.lane, functionId, eventId });
    }
    return reply.code(202).send(answer.run);
  });
  serve(app, options, routes.unpinRun, async (request) => {
    const { scope } = principalOf(request);
    const answer = await store.unpin(scope.environmentId, request.params.id);
    if (answer.kind === 'not_found') throw runNotFound();
    if (answer.kind === 'ended') {
      throw new IronflowError('conflict', 'run_ended', `the run has ended: it is ${answer.status}`);
    }
    if (answer.kind === 'active') {
      const message = 'a worker of its build may have the run: ask again when the run waits, or cancel it';
      throw new IronflowError('conflict', 'run_active', message);
    }
    const { run, resumed } = answer;
    if (resumed !== undefined) {
      const { id: runId, eventId, functionId, appId, mode, status } = run;
      const notice = { scope, runId, eventId, functionId, appId, mode, status, ...resumed, steps: [] };
      options.notices.publishRun(notice, 'yielded');
    }
    return run;
  });
  serve(app, options, routes.cancelRuns, async (request) => {
    const { scope } = principalOf(request);
    if (request.body.dryRun) {
      return { count: await store.countRunsToStop(scope.environmentId, request.body), isComplete: true };
    }
    const { runs, isComplete } = await store.requestStops(scope.environmentId, request.body);
    for (const run of runs) options.notices.publishStop({ scope, ...run });
    tellAudit(request, { details: { count: runs.length } });
    return { count: runs.length, isComplete };
  });
  serve(app, options, routes.signalRun, async (request, reply) => {
    const { scope } = principalOf(request);
    const { name, data, id = createId(Date.now(), randomBytes(idRandomBytes)) } = request.body;
    const runId = request.params.id;
    const outcome = await store.sendSignal(scope.environmentId, {
      runId,
      id,
      name,
      data: payloadText('signal', data),
    });
    if (outcome === 'not_found') throw runNotFound();
    if (outcome === 'ended') throw new IronflowError('conflict', 'run_ended', 'the run has ended');
    if (outcome === 'too_many') {
      const message = `the run has ${limits.signalsPerRunMax} signals that it has not taken yet`;
      throw new IronflowError('conflict', 'too_many_signals', message);
    }
    options.notices.publishWaits({ scope, runId });
    return reply.code(202).send({ id });
  });
  serve(app, options, routes.watchRun, async (request, reply) => {
    await streams.watch({
      scope: principalOf(request).scope,
      runId: request.params.id,
      open: () => openStream(request, reply),
      isAllowed: () => isStillAllowed(authenticator, request, routes.watchRun),
    });
    return reply;
  });
}

const idRandomBytes = 10;

function addEvents(app: HttpApp, options: HttpRoutesOptions): void {
  const { store } = options;
  serve(app, options, routes.getEvent, async (request) => {
    const event = await store.getEvent(environmentOf(request), request.params.id);
    if (event === undefined) throw notFound('event');
    return event;
  });
  serve(app, options, routes.listScheduledEvents, (request) =>
    store.listScheduledEvents(environmentOf(request), request.query),
  );
  serve(app, options, routes.cancelScheduledEvent, async (request) => {
    const { id } = request.params;
    if (!(await store.cancelScheduledEvent(environmentOf(request), id))) throw notFound('scheduled event');
    return { id };
  });
}

function addTopics(app: HttpApp, options: HttpRoutesOptions): void {
  serve(app, options, routes.publishMessage, async (request, reply) => {
    const { data, idempotencyKey: key } = request.body;
    const message = { topic: request.params.topic, data: payloadText('topic', data) ?? 'null', key };
    const sequence = await options.topics.publish(principalOf(request).scope, message);
    return reply.code(202).send({ id: String(sequence) });
  });
  serve(app, options, routes.watchTopic, async (request, reply) => {
    await options.topicStreams.subscribe({
      scope: principalOf(request).scope,
      pattern: request.params.topic,
      after: lastSeenOf(request.query.after, request.headers['last-event-id']),
      open: () => openStream(request, reply),
      isAllowed: () => isStillAllowed(options.authenticator, request, routes.watchTopic),
    });
    return reply;
  });
}

/** A browser that connects again says it in the header, and knows better than the address it was given first. */
function lastSeenOf(after: string | undefined, header: string | string[] | undefined): number | undefined {
  const last = messageIdSchema.safeParse(header).data ?? after;
  return last === undefined ? undefined : Number(last);
}

function addDeadLetters(app: HttpApp, options: HttpRoutesOptions): void {
  const { store } = options;
  serve(app, options, routes.listDeadLetters, (request) =>
    store.listDeadLetters(environmentOf(request), request.query),
  );
  serve(app, options, routes.getDeadLetter, async (request) => {
    const letter = await store.getDeadLetter(environmentOf(request), request.params.id);
    if (letter === undefined) throw notFound('dead letter');
    return letter;
  });
  serve(app, options, routes.discardDeadLetter, async (request) => {
    const { id } = request.params;
    if (!(await store.discardDeadLetter(environmentOf(request), id))) throw notFound('dead letter');
    return { id };
  });
}

function addRegistry(app: HttpApp, options: HttpRoutesOptions): void {
  const { store, database, announcer } = options;
  serve(app, options, routes.listFunctions, async (request) => ({
    functions: await store.listFunctions(environmentOf(request)),
  }));
  serve(app, options, routes.getFunction, async (request) => {
    const found = await store.getFunction(environmentOf(request), request.params.id);
    if (found === undefined) throw notFound('function');
    return found;
  });
  serve(app, options, routes.listApps, async (request) => ({
    apps: await store.listApps(environmentOf(request)),
  }));
  serve(app, options, routes.registerApp, async (request) => {
    const manifest = request.body;
    if (manifest.id !== request.params.id) {
      throw new IronflowError('invalid', 'app_invalid', 'must be the id in the path', { field: 'id' });
    }
    await checkManifest(manifest);
    const environmentId = environmentOf(request);
    const { version, ...answer } = await registerApp(database, environmentId, manifest);
    // Whoever emits now is matched by the new version with or without the signal: it only saves a reload later.
    void announcer.announce(environmentId, version);
    return answer;
  });
}

function addPauses(app: HttpApp, { store, database, announcer, ...options }: HttpRoutesOptions): void {
  const changed = async (
    { environmentId, functionId }: Pick<FunctionLimits, 'environmentId' | 'functionId'>,
    version: number | undefined,
  ) => {
    if (version !== undefined) void announcer.announce(environmentId, version);
    const found = await store.getFunction(environmentId, functionId);
    if (found === undefined) throw notFound('function');
    return found;
  };
  const putFunction = async (pause: Required<Pause>) => changed(pause, await setPaused(database, pause));
  const putEnvironment = async (pause: Omit<Pause, 'functionId'>) => {
    const version = await setPaused(database, pause);
    if (version !== undefined) void announcer.announce(pause.environmentId, version);
    return store.getEnvironment(pause.environmentId);
  };
  serve(app, options, routes.getEnvironment, (request) => store.getEnvironment(environmentOf(request)));
  serve(app, options, routes.pauseFunction, (request) =>
    putFunction({ environmentId: environmentOf(request), functionId: request.params.id, paused: true }),
  );
  serve(app, options, routes.resumeFunction, (request) =>
    putFunction({ environmentId: environmentOf(request), functionId: request.params.id, paused: false }),
  );
  serve(app, options, routes.setFunctionLimits, async (request) => {
    const { concurrency } = request.body;
    const limits = { environmentId: environmentOf(request), functionId: request.params.id, concurrency };
    return changed(limits, await setFunctionLimits(database, limits));
  });
  serve(app, options, routes.pauseEnvironment, (request) =>
    putEnvironment({ environmentId: environmentOf(request), paused: true }),
  );
  serve(app, options, routes.resumeEnvironment, (request) =>
    putEnvironment({ environmentId: environmentOf(request), paused: false }),
  );
}

function addQueues(app: HttpApp, options: HttpRoutesOptions): void {
  const { store } = options;
  serve(app, options, routes.listQueues, async (request) => {
    const environmentId = environmentOf(request);
    const environment = await store.getEnvironment(environmentId);
    const paused = environment?.pausedAt === undefined ? {} : { pausedAt: environment.pausedAt };
    return { ...paused, queues: await store.listQueues(environmentId) };
  });
  serve(app, options, routes.getQueue, async (request) => {
    const queue = await store.getQueue(environmentOf(request), request.params.id);
    if (queue === undefined) throw notFound('function');
    return queue;
  });
}

function addIdentity(app: HttpApp, options: HttpRoutesOptions): void {
  serve(app, options, routes.getIdentity, (request): Identity => {
    const { scope, role } = principalOf(request);
    return { project: scope.project, env: scope.env, role };
  });
}

function addOpenapi(app: HttpApp, options: HttpRoutesOptions): void {
  const description = describeOpenapi({ version: options.version });
  serve(app, options, routes.getOpenapi, () => description);
}

function environmentOf(request: FastifyRequest): string {
  return principalOf(request).scope.environmentId;
}

function notFound(what: 'event' | 'function' | 'dead letter' | 'scheduled event'): IronflowError {
  const message = `there is no ${what} of that id in this environment`;
  return new IronflowError('not_found', `${what.replace(' ', '_')}_not_found`, message);
}
