/** The routes: authenticates, validates, asks the store, and says 404 alike for what is absent and what is another's. */
import { isRefusedData, registerApp } from '@ironflow/database';
import type { ApiStore, Authenticator, Database } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { routes } from '@ironflow/schema';
import type { Identity, KeyRole } from '@ironflow/schema';
import { authenticate, principalOf, requirePrincipal } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { checkManifest } from './manifest-rules.js';
import { describeOpenapi } from './openapi.js';
import type { RegistryAnnouncer } from './registry-announcer.js';
import { runNotFound } from './run-streams.js';
import type { RunStreams } from './run-streams.js';

export interface HttpRoutesOptions {
  authenticator: Authenticator;
  database: Database;
  store: ApiStore;
  announcer: RegistryAnnouncer;
  streams: RunStreams;
  version: string;
}

export function addHttpRoutes(app: HttpApp, options: HttpRoutesOptions): void {
  void app.register(async (routed: HttpApp) => {
    routed.decorateRequest('principal', null);
    // What Postgres refuses for its characters is the caller's; anything else goes on to the server's own handler.
    routed.setErrorHandler((error) => {
      if (!isRefusedData(error)) throw error;
      const rule = 'contains what the database cannot hold, such as the character U+0000';
      throw new IronflowError('invalid', 'invalid_request', rule, { cause: error });
    });
    addRuns(routed, options);
    addEvents(routed, options);
    addRegistry(routed, options);
    addIdentity(routed, options);
    addOpenapi(routed, options);
  });
}

function addRuns(app: HttpApp, { store, streams, authenticator }: HttpRoutesOptions): void {
  const { listRuns, getRun, watchRun } = routes;
  const allow = (role: KeyRole) => authenticate(authenticator, role);
  app.get(
    listRuns.path,
    { schema: { querystring: listRuns.query }, onRequest: allow(listRuns.role) },
    (request) => store.listRuns(environmentOf(request), request.query),
  );
  app.get(
    getRun.path,
    { schema: { params: getRun.params, querystring: getRun.query }, onRequest: allow(getRun.role) },
    async (request) => {
      const run = await store.getRun(environmentOf(request), request.params.id);
      if (run === undefined) throw runNotFound();
      return run;
    },
  );
  app.get(
    watchRun.path,
    { schema: { params: watchRun.params, querystring: watchRun.query }, onRequest: allow(watchRun.role) },
    async (request, reply) => {
      await streams.watch({
        scope: principalOf(request).scope,
        runId: request.params.id,
        open: () => {
          reply.hijack();
          return reply.raw.writeHead(200, { ...streamHeaders, 'x-request-id': request.id });
        },
        isAllowed: () => isStillAllowed(authenticator, request, watchRun.role),
      });
      return reply;
    },
  );
}

const streamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  // Proxies that buffer would hold the events back.
  'x-accel-buffering': 'no',
};

function addEvents(app: HttpApp, { store, authenticator }: HttpRoutesOptions): void {
  const { listEvents, getEvent } = routes;
  const onRequest = authenticate(authenticator, listEvents.role);
  app.get(listEvents.path, { schema: { querystring: listEvents.query }, onRequest }, (request) =>
    store.listEvents(environmentOf(request), request.query),
  );
  app.get(
    getEvent.path,
    { schema: { params: getEvent.params, querystring: getEvent.query }, onRequest },
    async (request) => {
      const event = await store.getEvent(environmentOf(request), request.params.id);
      if (event === undefined) throw notFound('event');
      return event;
    },
  );
}

function addRegistry(app: HttpApp, options: HttpRoutesOptions): void {
  const { store, authenticator, announcer } = options;
  const { listFunctions, getFunction, listApps, registerApp: register } = routes;
  const allow = (role: KeyRole) => authenticate(authenticator, role);
  const listed = { schema: { querystring: listFunctions.query }, onRequest: allow(listFunctions.role) };
  app.get(listFunctions.path, listed, async (request) => ({
    functions: await store.listFunctions(environmentOf(request)),
  }));
  app.get(
    getFunction.path,
    {
      schema: { params: getFunction.params, querystring: getFunction.query },
      onRequest: allow(getFunction.role),
    },
    async (request) => {
      const functions = await store.listFunctions(environmentOf(request));
      const found = functions.find(({ id }) => id === request.params.id);
      if (found === undefined) throw notFound('function');
      return found;
    },
  );
  app.get(listApps.path, listed, async (request) => ({ apps: await store.listApps(environmentOf(request)) }));
  app.put(
    register.path,
    {
      schema: { params: register.params, querystring: register.query, body: register.body },
      onRequest: allow(register.role),
    },
    async (request) => {
      const manifest = request.body;
      if (manifest.id !== request.params.id) {
        throw new IronflowError('invalid', 'app_invalid', 'must be the id in the path', { field: 'id' });
      }
      await checkManifest(manifest);
      const environmentId = environmentOf(request);
      const { version, ...answer } = await registerApp(options.database, environmentId, manifest);
      // Whoever emits now is matched by the new version with or without the signal: it only saves a reload later.
      void announcer.announce(environmentId, version);
      return answer;
    },
  );
}

function addIdentity(app: HttpApp, { authenticator }: HttpRoutesOptions): void {
  const { path, query, role } = routes.getIdentity;
  app.get(
    path,
    { schema: { querystring: query }, onRequest: authenticate(authenticator, role) },
    (request): Identity => {
      const principal = principalOf(request);
      return { project: principal.scope.project, env: principal.scope.env, role: principal.role };
    },
  );
}

function addOpenapi(app: HttpApp, { version }: HttpRoutesOptions): void {
  const description = describeOpenapi({ version });
  const { path, query } = routes.getOpenapi;
  app.get(path, { schema: { querystring: query } }, () => description);
}

async function isStillAllowed(
  authenticator: Authenticator,
  request: FastifyRequest,
  role: KeyRole,
): Promise<boolean> {
  try {
    await requirePrincipal(authenticator, request.headers.authorization, role);
    return true;
  } catch (error) {
    if (error instanceof IronflowError && error.category === 'unavailable') return true;
    return false;
  }
}

function environmentOf(request: FastifyRequest): string {
  return principalOf(request).scope.environmentId;
}

function notFound(what: 'event' | 'function'): IronflowError {
  const message = `there is no ${what} of that id in this environment`;
  return new IronflowError('not_found', `${what}_not_found`, message);
}
