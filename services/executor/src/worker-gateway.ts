/** Where workers connect: authenticates the upgrade, reads the hello, and joins the worker to the lanes that it serves. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { IronflowError, messageOf } from '@ironflow/errors';
import { limits, protocolVersion } from '@ironflow/schema';
import type { NeededAccess, Scope, WorkerMessage } from '@ironflow/schema';
import type { Authenticator, RegistryReader } from '@ironflow/database';
import { childLogger, requirePrincipal } from '@ironflow/service';
import type { Logger } from '@ironflow/service';
import type { ExecutorMetrics } from './executor-metrics.js';
import type { LaneKey, PullLanes } from './pull-lanes.js';
import type { RunLogs } from './run-logs.js';
import type { Settlement } from './settlement.js';
import { createWorkerConnection } from './worker-connection.js';
import type { WorkerConnection } from './worker-connection.js';
import { createWorkerSocket, frameBytesMax } from './worker-socket.js';
import type { WorkerSocket } from './worker-socket.js';

export interface WorkerGatewayOptions {
  executor: string;
  authenticator: Authenticator;
  registry: RegistryReader;
  pullLanes: PullLanes;
  settlement: Settlement;
  logs: Pick<RunLogs, 'add'>;
  metrics: ExecutorMetrics;
  logger: Logger;
  connectionsMax: number;
}

export interface WorkerGateway {
  handleUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  connections(): number;
  /** Lets go of the workers of this environment whose keys may connect none any more. */
  recheck(environmentId: string): void;
  /** Takes no new workers, and lets those it has go to another executor as soon as they have no run. */
  drain(): void;
  /** Closes every socket. */
  stop(): void;
}

const helloTimeoutMs = 5_000;
const keyCheckIntervalMs = 10_000;
const workerAccess: NeededAccess = { role: 'developer', scope: 'workers:connect' };
/** RFC 6455: 1012 service restart, 1008 policy violation. */
const closeRestart = 1012;
const closePolicy = 1008;

export function createWorkerGateway(options: WorkerGatewayOptions): WorkerGateway {
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: frameBytesMax });
  const guests = new Set<Guest>();
  let draining = false;

  const accept = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const { authorization } = request.headers;
    const principal = await requirePrincipal(options.authenticator, authorization, workerAccess);
    if (draining || guests.size >= options.connectionsMax) return refuseUpgrade(socket, 503);
    socket.off('error', ignoreError); // From here on the WebSocket listens.
    server.handleUpgrade(request, socket, head, (webSocket) => {
      const guest = createGuest(options, webSocket, {
        scope: principal.scope,
        isAllowed: () => isStillAllowed(options.authenticator, authorization),
        onGone: () => guests.delete(guest),
      });
      guests.add(guest);
    });
  };
  return {
    recheck: (environmentId) => {
      for (const guest of guests) if (guest.environmentId === environmentId) guest.recheck();
    },
    connections: () => [...guests].filter((guest) => guest.isJoined()).length,
    handleUpgrade: (request, socket, head) => {
      // A client that is gone before it is known would otherwise take the process with it: nobody else listens now.
      socket.on('error', ignoreError);
      accept(request, socket, head).catch((error: unknown) => {
        const status = refusalStatus(error);
        if (status === 503) {
          options.logger.warn({ reason: messageOf(error) }, 'a worker cannot be authenticated now');
        }
        refuseUpgrade(socket, status);
      });
    },
    drain: () => {
      draining = true;
      for (const guest of guests) guest.drain();
    },
    stop: () => {
      for (const guest of guests) guest.close();
      server.close();
    },
  };
}

/** One connection: unknown until its hello has been checked, then a worker of its app. */
interface Guest {
  environmentId: string;
  isJoined(): boolean;
  /** Closes it if its key may connect no worker any more. */
  recheck(): void;
  drain(): void;
  close(): void;
}

function createGuest(
  options: WorkerGatewayOptions,
  webSocket: WebSocket,
  { scope, isAllowed, onGone }: { scope: Scope; isAllowed: () => Promise<boolean>; onGone: () => void },
): Guest {
  const { pullLanes } = options;
  const logger = childLogger(options.logger, { project: scope.project, env: scope.env });
  let state: 'awaited' | 'checking' | 'joined' | 'gone' = 'awaited';
  let joined: { appId: string; connection: WorkerConnection } | undefined;
  let draining = false;
  const close = (): void => socket.close(closeRestart, 'the executor restarts');
  const closeWhenIdle = (): void => {
    if (draining && (joined?.connection.activeRuns() ?? 0) === 0) close();
  };
  const join = async (hello: Hello): Promise<void> => {
    state = 'checking';
    const misfit = await check(options.registry, scope, hello).catch((error: unknown) => {
      logger.warn({ reason: messageOf(error) }, 'a worker cannot be checked now');
      return { code: 'unavailable', message: 'the registry cannot be read now: connect again' };
    });
    // One that left meanwhile must not be given runs that nobody would ever hear of again.
    if (state !== 'checking' || draining) return;
    const lanes = lanesOf(scope, hello);
    const refusal =
      misfit ?? (lanes.every((lane) => pullLanes.admits(lane)) ? undefined : tooManyBuilds(hello));
    if (refusal !== undefined) {
      socket.send({ type: 'refused', ...refusal });
      socket.close(closePolicy, refusal.code);
      return;
    }
    const { appId, buildId, pinRuns, slots } = hello;
    const connection = createWorkerConnection({
      ...options,
      socket,
      slots,
      build: { buildId, pinRuns },
      onChange: () => {
        pullLanes.changed(connection);
        closeWhenIdle();
      },
    });
    joined = { appId, connection };
    state = 'joined';
    const build = buildId === undefined ? {} : { buildId };
    socket.send({ type: 'welcome', v: protocolVersion, executor: options.executor, ...build });
    pullLanes.join(lanes, connection);
    logger.info({ appId, ...build }, 'a worker has connected');
  };
  const key = watchKey(isAllowed, () => {
    if (state === 'gone') return;
    logger.info('a worker is let go: its key may connect none any more');
    const message = 'its API key may connect no worker any more';
    socket.send({ type: 'refused', code: 'key_revoked', message });
    socket.close(closePolicy, 'key_revoked');
  });
  const timer = setTimeout(() => {
    if (state !== 'joined') webSocket.close(closePolicy, 'no hello');
  }, helloTimeoutMs);
  const socket: WorkerSocket = createWorkerSocket(webSocket, {
    onMessage: (message) => {
      if (message.type !== 'hello') return joined?.connection.receive(message);
      return state === 'awaited' ? join(message) : undefined;
    },
    onUncongested: () => {
      if (joined !== undefined) pullLanes.changed(joined.connection);
    },
    onClose: () => {
      clearTimeout(timer);
      key.stop();
      state = 'gone';
      onGone();
      if (joined === undefined) return;
      pullLanes.leave(joined.connection);
      joined.connection.lost();
      logger.info({ appId: joined.appId }, 'a worker is gone');
    },
  });
  return {
    environmentId: scope.environmentId,
    isJoined: () => state === 'joined',
    recheck: key.recheck,
    close,
    drain: () => {
      draining = true;
      joined?.connection.drain();
      closeWhenIdle();
    },
  };
}

/** Asks when it is told to, and now and then: that a key has expired is told by nobody. */
function watchKey(isAllowed: () => Promise<boolean>, onRefused: () => void) {
  const recheck = (): void => {
    void isAllowed().then((allowed) => (allowed ? undefined : onRefused()));
  };
  const checker = setInterval(recheck, keyCheckIntervalMs).unref();
  return { recheck, stop: () => clearInterval(checker) };
}

type Hello = Extract<WorkerMessage, { type: 'hello' }>;

/** That of its build first: what a run has begun goes before what begins. */
function lanesOf(scope: Scope, { appId, buildId }: Hello): LaneKey[] {
  return [...(buildId === undefined ? [] : [{ scope, appId, buildId }]), { scope, appId }];
}

interface Refusal {
  code: string;
  message: string;
}

function tooManyBuilds({ appId }: Hello): Refusal {
  return {
    code: 'too_many_builds',
    message: `workers of ${limits.buildsPerAppMax} builds of the app "${appId}" have connected within the last hour: use one of those, or none`,
  };
}

async function check(registry: RegistryReader, scope: Scope, hello: Hello): Promise<Refusal | undefined> {
  if (hello.v !== protocolVersion) {
    return {
      code: 'protocol_unsupported',
      message: `this executor speaks version ${protocolVersion} of the protocol`,
    };
  }
  if (hello.pinRuns === true && hello.buildId === undefined) {
    return { code: 'build_id_missing', message: 'a worker that pins runs needs a build id' };
  }
  // A worker registers and connects right after it: what was read before then does not count.
  registry.invalidate(scope.environmentId);
  const app = (await registry.get(scope.environmentId)).apps.get(hello.appId);
  if (app === undefined) {
    return {
      code: 'app_not_registered',
      message: `the app "${hello.appId}" is not registered in this environment`,
    };
  }
  if (app.mode !== 'pull') {
    return {
      code: 'app_is_push',
      message: `the app "${hello.appId}" is registered with a URL and takes no workers`,
    };
  }
  return undefined;
}

/** Postgres may be away: that is no reason to let a worker go. */
async function isStillAllowed(
  authenticator: Authenticator,
  authorization: string | undefined,
): Promise<boolean> {
  try {
    await requirePrincipal(authenticator, authorization, workerAccess);
    return true;
  } catch (error) {
    return refusalStatus(error) === 503;
  }
}

function refusalStatus(error: unknown): keyof typeof statusTexts {
  if (!(error instanceof IronflowError)) return 503;
  if (error.category === 'unauthenticated') return 401;
  return error.category === 'forbidden' ? 403 : 503;
}

const statusTexts = { 401: 'Unauthorized', 403: 'Forbidden', 503: 'Service Unavailable' } as const;

function ignoreError(): void {
  // The socket closes by itself, and nobody waits for it yet.
}

function refuseUpgrade(socket: Duplex, status: keyof typeof statusTexts): void {
  // A client that does not close its side would keep the socket.
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${statusTexts[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
