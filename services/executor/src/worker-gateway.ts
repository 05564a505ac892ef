/** Where workers connect: authenticates the upgrade, reads the hello, and joins the worker to its app. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { messageOf } from '@ironflow/errors';
import { protocolVersion } from '@ironflow/schema';
import type { Scope, WorkerMessage } from '@ironflow/schema';
import type { Authenticator, RegistryReader } from '@ironflow/database';
import type { Logger } from '@ironflow/service';
import type { ExecutorMetrics } from './executor-metrics.js';
import type { AppKey, PullApps } from './pull-apps.js';
import type { Settlement } from './settlement.js';
import { createWorkerConnection } from './worker-connection.js';
import type { WorkerConnection } from './worker-connection.js';
import { createWorkerSocket, frameBytesMax } from './worker-socket.js';
import type { WorkerSocket } from './worker-socket.js';

export interface WorkerGatewayOptions {
  executor: string;
  authenticator: Authenticator;
  registry: RegistryReader;
  pullApps: PullApps;
  settlement: Settlement;
  metrics: ExecutorMetrics;
  logger: Logger;
  connectionsMax: number;
}

export interface WorkerGateway {
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  connections(): number;
  activeRuns(): number;
  /** Closes every socket; what is still active is handed back to another executor. */
  stop(): Promise<void>;
}

const helloTimeoutMs = 5_000;
/** RFC 6455: 1012 service restart, 1008 policy violation. */
const closeRestart = 1012;
const closePolicy = 1008;

export function createWorkerGateway(options: WorkerGatewayOptions): WorkerGateway {
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: frameBytesMax });
  const joined = new Map<WorkerSocket, { key: AppKey; connection: WorkerConnection }>();

  const accept = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const principal = await options.authenticator.authenticate(bearerOf(request));
    if (principal === undefined || principal.role === 'viewer') {
      refuseUpgrade(socket, principal === undefined ? 401 : 403);
    } else if (joined.size >= options.connectionsMax) {
      refuseUpgrade(socket, 503);
    } else {
      server.handleUpgrade(request, socket, head, (webSocket) => greet(webSocket, principal.scope));
    }
  };
  const greet = (webSocket: WebSocket, scope: Scope): void => {
    let hello: 'awaited' | 'checked' = 'awaited';
    const timer = setTimeout(() => {
      if (!joined.has(socket)) webSocket.close(closePolicy, 'no hello');
    }, helloTimeoutMs);
    const socket = createWorkerSocket(webSocket, {
      onMessage: (message) => {
        if (message.type !== 'hello') joined.get(socket)?.connection.receive(message);
        else if (hello === 'awaited') {
          hello = 'checked';
          void join(socket, scope, message);
        }
      },
      onClose: () => {
        clearTimeout(timer);
        const left = joined.get(socket);
        joined.delete(socket);
        if (left === undefined) return;
        options.pullApps.leave(left.key, left.connection);
        left.connection.lost();
        options.logger.info(
          { appId: left.key.appId, project: scope.project, env: scope.env },
          'a worker is gone',
        );
      },
    });
  };
  const join = async (
    socket: WorkerSocket,
    scope: Scope,
    hello: Extract<WorkerMessage, { type: 'hello' }>,
  ): Promise<void> => {
    const refusal = await check(options.registry, scope, hello).catch((error: unknown) => {
      options.logger.warn({ reason: messageOf(error) }, 'a worker cannot be checked now');
      return { code: 'unavailable', message: 'the registry cannot be read now: connect again' };
    });
    if (refusal !== undefined) {
      socket.send({ type: 'refused', ...refusal });
      socket.close(closePolicy, refusal.code);
      return;
    }
    const key = { scope, appId: hello.appId };
    const connection = createWorkerConnection({
      socket,
      slots: hello.slots,
      settlement: options.settlement,
      metrics: options.metrics,
      onChange: () => options.pullApps.changed(key),
    });
    joined.set(socket, { key, connection });
    socket.send({ type: 'welcome', v: protocolVersion, executor: options.executor });
    options.pullApps.join(key, connection);
    options.logger.info(
      { appId: hello.appId, project: scope.project, env: scope.env },
      'a worker has connected',
    );
  };
  return {
    connections: () => joined.size,
    activeRuns: () => [...joined.values()].reduce((sum, { connection }) => sum + connection.activeRuns(), 0),
    handleUpgrade: (request, socket, head) => {
      accept(request, socket, head).catch((error: unknown) => {
        options.logger.warn({ reason: messageOf(error) }, 'a worker cannot be authenticated now');
        refuseUpgrade(socket, 503);
      });
    },
    stop: async () => {
      for (const [socket, { connection }] of joined) {
        connection.handBack();
        socket.close(closeRestart, 'the executor restarts');
      }
      server.close();
    },
  };
}

async function check(
  registry: RegistryReader,
  scope: Scope,
  hello: { v: number; appId: string },
): Promise<{ code: string; message: string } | undefined> {
  if (hello.v !== protocolVersion) {
    return {
      code: 'protocol_unsupported',
      message: `this executor speaks version ${protocolVersion} of the protocol`,
    };
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

function bearerOf(request: IncomingMessage): string {
  return /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
}

const statusTexts = { 401: 'Unauthorized', 403: 'Forbidden', 503: 'Service Unavailable' } as const;

function refuseUpgrade(socket: Duplex, status: keyof typeof statusTexts): void {
  socket.end(`HTTP/1.1 ${status} ${statusTexts[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
