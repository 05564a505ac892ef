/**
 * The HTTP server of a service: fastify with Zod validation, the platform's error body, request ids, health and metrics.
 * It listens on a port of its own, or lends its handlers to another Node server (`handle`, `handleUpgrade`) so that several
 * services can live at one URL. Bodies are never logged.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import fastify, { LogController } from 'fastify';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  RawServerDefault,
} from 'fastify';
import { serializerCompiler } from 'fastify-type-provider-zod';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { idLengthMax, limits } from '@ironflow/schema';
import { systemClock } from './clock.js';
import type { Clock } from './clock.js';
import type { Health } from './health.js';
import { describeHttpError, formatRawAnswer, routeNotFound } from './http-errors.js';
import type { HttpErrorAnswer } from './http-errors.js';
import { invalidInput } from './invalid-input.js';
import type { Stoppable } from './lifecycle.js';
import type { Logger } from './logger.js';
import { durationBucketsSeconds } from './metrics.js';
import type { Metrics } from './metrics.js';

export type HttpApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export interface HttpServerOptions {
  logger: Logger;
  metrics: Metrics;
  health: Health;
  /** Default: the platform's limit for a request body. */
  bodyLimitBytes?: number;
  /** How long requests and upgraded connections may go on after `stop`; default 10 s. */
  drainTimeoutMs?: number;
  clock?: Clock;
  /** Addresses and ranges that are believed about where a request came from; none by default. */
  trustedProxies?: readonly string[];
  /** Listens by https, with these in PEM. */
  tls?: { cert: string; key: string } | undefined;
}

export interface HttpServer extends Stoppable {
  /** Routes and plugins are added here, before `listen` or `ready`. */
  readonly app: HttpApp;
  /** For a path without query, before or after listening. The handler owns the socket. */
  onUpgrade(path: string, handler: UpgradeHandler): void;
  listen(address: { host: string; port: number }): Promise<{ url: string; port: number }>;
  /** To be awaited before the first `handle` when the server does not listen itself. */
  ready(): Promise<void>;
  /** Serves one request of another server. With `next`, a route that is not here is left to it, body unread. */
  handle(request: IncomingMessage, response: ServerResponse, next?: () => void): void;
  /** Whether one of the upgrade handlers took the connection. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /**
   * Takes no new connections, lets requests end, then cuts what is left after the drain timeout. When another server lends
   * the connections, that one is stopped first.
   */
  stop(): Promise<void>;
}

export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { logger, clock = systemClock, drainTimeoutMs = 10_000 } = options;
  const bodyLimitBytes = options.bodyLimitBytes ?? limits.requestBodyBytesMax;
  const app = createApp(options, bodyLimitBytes);
  const fallthroughs = new WeakMap<IncomingMessage, () => void>();
  const upgrades = createUpgrades();
  let stopped: Promise<void> | undefined;

  app.addHook('onRequest', (request, reply, done) => {
    const next = request.is404 ? fallthroughs.get(request.raw) : undefined;
    if (next !== undefined) {
      reply.hijack();
      return next();
    }
    void reply.header('x-request-id', request.id);
    if (stopped !== undefined) void reply.header('connection', 'close');
    // Answered here so that nobody parses the body of a route that is not there.
    if (request.is404) return void sendError(reply, routeNotFound);
    done();
  });
  app.addHook('onResponse', (_request, _reply, done) => {
    // A connection kept alive by a request from before the stop would hold it up.
    if (stopped !== undefined) setImmediate(() => app.server.closeIdleConnections());
    done();
  });
  addErrorAnswers(app, bodyLimitBytes);
  addRequestMetrics(app, options.metrics, (request) => request.is404 && fallthroughs.has(request.raw));
  addOwnRoutes(app, options);
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (!upgrades.handle(request, socket, head))
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
  });

  async function drain(): Promise<void> {
    const timer = clock.setTimeout(() => {
      logger.warn({ drainTimeoutMs }, 'cutting connections that did not end in time');
      app.server.closeAllConnections();
      upgrades.destroyAll();
    }, drainTimeoutMs);
    // Node's server first: fastify runs its hooks before it closes the port. One that never listened calls back at once.
    await new Promise<void>((resolve) => app.server.close(() => resolve()));
    timer.cancel();
    await app.close();
  }

  return {
    app,
    onUpgrade: upgrades.on,
    async listen(address) {
      await app.listen(address);
      const { port } = app.server.address() as AddressInfo;
      const host = address.host.includes(':') ? `[${address.host}]` : address.host;
      return { url: `${options.tls === undefined ? 'http' : 'https'}://${host}:${port}`, port };
    },
    ready: async () => void (await app.ready()),
    handle(request, response, next) {
      if (next !== undefined) fallthroughs.set(request, next);
      app.routing(request, response);
    },
    handleUpgrade: upgrades.handle,
    stop: () => (stopped ??= drain()),
  };
}

/** Above the 60 s after which load balancers usually drop idle connections, so that they close first. */
const keepAliveTimeoutMs = 65_000;
/** For receiving a whole request; against clients that send a byte now and then. */
const requestTimeoutMs = 60_000;

function createApp({ logger, tls, trustedProxies = [] }: HttpServerOptions, bodyLimitBytes: number): HttpApp {
  const app = fastify<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger>({
    // The types know servers of http or of https; nothing here depends on which it is.
    ...({ https: tls ?? null } as object),
    loggerInstance: logger,
    trustProxy: trustedProxies.length > 0 && [...trustedProxies],
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: bodyLimitBytes,
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: requestTimeoutMs,
    // Fastify's own limit is below that of the longest id.
    routerOptions: { maxParamLength: Math.max(idLengthMax, limits.eventNameBytesMax) },
    // While draining, what still arrives on open connections is served: everything behind is stopped later.
    return503OnClosing: false,
    requestIdHeader: false,
    genReqId,
    frameworkErrors: (error, _request, reply) => {
      void sendError(reply, describeHttpError(error, bodyLimitBytes));
    },
    clientErrorHandler: (error, socket) => endUnreadable(error, socket),
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler<z.ZodType>(({ schema }) => (data) => {
    const parsed = schema.safeParse(data);
    return parsed.success ? { value: parsed.data } : { error: invalidInput(parsed.error) };
  });
  app.setSerializerCompiler(serializerCompiler);
  // JSON only; a route that wants raw bytes adds its own parser in a plugin.
  app.removeContentTypeParser('text/plain');
  return app;
}

/** A caller's id is kept when it is harmless in a log line and a header. */
function genReqId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : randomUUID();
}

function endUnreadable(error: Error, socket: Socket): void {
  // Nobody is there to read an answer after a reset.
  if ((error as NodeJS.ErrnoException).code === 'ECONNRESET' || !socket.writable)
    return void socket.destroy();
  socket.end(formatRawAnswer(error));
}

function addErrorAnswers(app: HttpApp, bodyLimitBytes: number): void {
  app.setErrorHandler((error, request, reply) => {
    const answer = describeHttpError(error, bodyLimitBytes);
    if (answer.status === 500) request.log.error({ err: error, route: routeOf(request) }, 'a request failed');
    return sendError(reply, answer);
  });
}

function sendError(reply: FastifyReply, { status, retryAfterSeconds, body }: HttpErrorAnswer): FastifyReply {
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', String(Math.ceil(retryAfterSeconds)));
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  // Past the schema of the route: an error body is no answer of it.
  return reply
    .code(status)
    .header('content-type', 'application/json; charset=utf-8')
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(body);
}

function addRequestMetrics(
  app: HttpApp,
  metrics: Metrics,
  isLeftToOthers: (request: FastifyRequest) => boolean,
): void {
  const duration = metrics.histogram(
    'http_request_duration_seconds',
    'Time from the head of a request to the end of its answer',
    durationBucketsSeconds,
    ['method', 'route', 'status'],
  );
  app.addHook('onResponse', (request, reply, done) => {
    if (isLeftToOthers(request)) return done();
    duration.record(reply.elapsedTime / 1_000, {
      method: request.method,
      route: routeOf(request),
      status: String(reply.statusCode),
    });
    done();
  });
}

/** The pattern, never the URL: bounded, and free of ids. */
function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? 'unknown';
}

function addOwnRoutes(app: HttpApp, { health, metrics }: HttpServerOptions): void {
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const readiness = await health.readiness();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  app.get('/metrics', async (_request, reply) =>
    reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8').send(await metrics.render()),
  );
}

function createUpgrades() {
  const handlers = new Map<string, UpgradeHandler>();
  const sockets = new Set<Duplex>();

  function handle(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const handler = handlers.get((request.url ?? '').split('?', 1)[0]!);
    if (handler === undefined) return false;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    handler(request, socket, head);
    return true;
  }

  return {
    handle,
    on: (path: string, handler: UpgradeHandler) => void handlers.set(path, handler),
    destroyAll: () => sockets.forEach((socket) => socket.destroy()),
  };
}
