/**
 * One URL in front of services that run as processes of their own, as an ingress is in a cluster: it picks the service by
 * route and one of its replicas in turn, and tries the next one when a replica cannot be reached.
 */
import { Agent, createServer, request as sendPlain } from 'node:http';
import type { ClientRequest, IncomingMessage, RequestOptions, Server, ServerResponse } from 'node:http';
import { Agent as TlsAgent, request as sendByTls } from 'node:https';
import { connect as connectPlain } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectByTls } from 'node:tls';
import type { Lifecycle } from '@ironflow/service';
import { portTaken } from './port-taken.js';
import { serviceFor } from './services.js';
import type { PublicService } from './services.js';

export interface GatewayOptions {
  host: string;
  port: number;
  lifecycle: Lifecycle;
  /** URLs of the replicas that are thought to run. */
  replicasOf: (service: PublicService) => string[];
  /** Default: as the routes say. */
  route?: (method: string, path: string) => PublicService;
  /** Of replicas whose URLs are https: the authority that signed their certificates, and the name in them. */
  tls?: ReplicaTls;
}

export interface ReplicaTls {
  ca: string;
  servername: string;
}

const bodyBytesMax = 17 * 1024 * 1024;
/** Longer than clients keep idle connections: whoever closes first must not be the one that a request is on its way to. */
const keepAliveMs = 72_000;

export async function startGateway(options: GatewayOptions): Promise<{ url: string }> {
  const { route = serviceFor } = options;
  const outgoing = createOutgoing(options.tls);
  const turns = { ingest: 0, api: 0, executor: 0 };
  const candidates = (message: IncomingMessage): string[] => {
    const service = route(message.method ?? 'GET', (message.url ?? '').split('?', 1)[0]!);
    const replicas = options.replicasOf(service);
    const first = replicas.length === 0 ? 0 : turns[service]++ % replicas.length;
    return [...replicas.slice(first), ...replicas.slice(0, first)];
  };
  const server = createServer(
    (message, response) => void forward(outgoing, candidates(message), message, response),
  );
  server.keepAliveTimeout = keepAliveMs;
  server.on('upgrade', (message, socket, head) =>
    tunnel(outgoing, candidates(message), { message, socket, head }),
  );
  await listen(server, options);
  options.lifecycle.onStop('gateway', () => {
    outgoing.end();
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://${options.host}:${(server.address() as AddressInfo).port}` };
}

function listen(server: Server, { host, port }: GatewayOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? portTaken(port, error) : error),
    );
    server.listen(port, host, resolve);
  });
}

interface Outgoing {
  request(to: URL, options: RequestOptions, onAnswer: (answer: IncomingMessage) => void): ClientRequest;
  connect(to: URL): Socket;
  end(): void;
}

function createOutgoing(tls: ReplicaTls | undefined): Outgoing {
  const settings = { keepAlive: true, maxSockets: 1_024 };
  const agents = { plain: new Agent(settings), tls: new TlsAgent({ ...settings, ...tls }) };
  return {
    request: (to, options, onAnswer) =>
      to.protocol === 'https:'
        ? sendByTls(to, { ...options, ...tls, agent: agents.tls }, onAnswer)
        : sendPlain(to, { ...options, agent: agents.plain }, onAnswer),
    connect: ({ protocol, hostname, port }) => {
      const to = { host: hostname, port: Number(port), noDelay: true };
      return protocol === 'https:' ? connectByTls({ ...to, ...tls }) : connectPlain(to);
    },
    end: () => {
      agents.plain.destroy();
      agents.tls.destroy();
    },
  };
}

async function forward(
  outgoing: Outgoing,
  replicas: string[],
  message: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readBody(message).catch(() => 'aborted' as const);
  if (body === 'aborted') return;
  if (body === undefined) {
    const message = `the body is larger than the limit of ${bodyBytesMax} bytes`;
    return refuse(response, 413, { code: 'body_too_large', message });
  }
  for (const replica of replicas) {
    if (await send(outgoing, replica, body, message, response)) return;
  }
  response.setHeader('retry-after', '1');
  refuse(response, 503, { code: 'unavailable', message: 'no replica of the service can be reached' });
}

/** In the shape of the platform's own errors. */
function refuse(response: ServerResponse, status: number, error: { code: string; message: string }): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
}

/** Answers false when the replica could not be reached and nothing was sent to the client. */
function send(
  outgoing: Outgoing,
  replica: string,
  body: Buffer,
  message: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  return new Promise((resolve) => {
    const request = outgoing.request(
      new URL(message.url ?? '/', replica),
      { method: message.method, headers: { ...message.headers, ...forwardedFor(message) } },
      (incoming) => {
        // What concerns the replica's connection says nothing of the client's.
        const { connection: _, 'keep-alive': __, ...headers } = incoming.headers;
        response.writeHead(incoming.statusCode ?? 502, headers);
        incoming.pipe(response);
        incoming.once('error', () => response.destroy());
        resolve(true);
      },
    );
    response.once('close', () => request.destroy());
    request.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') return resolve(false);
      // It may have been received: only the client knows whether to send it again.
      const message = 'the replica was lost before it answered';
      if (response.headersSent) response.destroy();
      else refuse(response, 502, { code: 'replica_lost', message });
      resolve(true);
    });
    request.end(body);
  });
}

/** Nobody is in front of the gateway: what a client says of this itself is not passed on. */
function forwardedFor(message: IncomingMessage): { 'x-forwarded-for': string } {
  return { 'x-forwarded-for': message.socket.remoteAddress ?? '' };
}

/** Undefined when it is too large: then the rest is let go by, so that the client hears the answer. */
function readBody(message: IncomingMessage): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let size = 0;
    message.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= bodyBytesMax) return chunks.push(chunk);
      chunks = [];
      resolve(undefined);
    });
    message.once('end', () => resolve(Buffer.concat(chunks)));
    message.once('error', reject);
  });
}

interface Upgrade {
  message: IncomingMessage;
  socket: Duplex;
  head: Buffer;
}

function tunnel(outgoing: Outgoing, replicas: string[], upgrade: Upgrade): void {
  const { message, socket, head } = upgrade;
  const [replica, ...others] = replicas;
  if (replica === undefined) {
    socket.end('HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\n');
    return;
  }
  const upstream = outgoing.connect(new URL(replica));
  let connected = false;
  upstream.once(replica.startsWith('https:') ? 'secureConnect' : 'connect', () => {
    connected = true;
    const lines = [`${message.method} ${message.url} HTTP/1.1`];
    for (let index = 0; index < message.rawHeaders.length; index += 2) {
      lines.push(`${message.rawHeaders[index]}: ${message.rawHeaders[index + 1]}`);
    }
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`);
    upstream.write(head);
    upstream.pipe(socket).pipe(upstream);
  });
  upstream.on('error', () => {
    if (connected) socket.destroy();
    else tunnel(outgoing, others, upgrade);
  });
  upstream.once('close', () => connected && socket.destroy());
  socket.on('error', () => upstream.destroy());
  socket.once('close', () => upstream.destroy());
}
