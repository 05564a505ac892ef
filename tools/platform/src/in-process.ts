/** All services in this one process, behind one HTTP server. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startService } from '@ironflow/service';
import type { HttpServer, Lifecycle, Logger } from '@ironflow/service';
import { portTaken } from './port-taken.js';
import { serviceFor, services } from './services.js';
import type { ServiceName } from './services.js';

export interface InProcessOptions {
  env: NodeJS.ProcessEnv;
  lifecycle: Lifecycle;
  /** Of one service. */
  loggerFor: (service: string) => Logger;
  host: string;
  port: number;
}

/** Answers with the URL of the platform. */
export async function startInProcess(options: InProcessOptions): Promise<{ url: string }> {
  const { env, lifecycle } = options;
  const guests = {} as Record<ServiceName, HttpServer>;
  const startGuest = async (name: ServiceName): Promise<void> => {
    const definition = services[name];
    // Every definition has a configuration shape of its own, which only its own start reads.
    const started = await startService(definition as (typeof services)['executor'], {
      env,
      lifecycle,
      logger: options.loggerFor(name),
      listen: false,
    });
    guests[name] = started.http;
  };
  // The first provisions what the others then find.
  const [first, ...others] = Object.keys(services) as ServiceName[];
  await startGuest(first!);
  await Promise.all(others.map(startGuest));

  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?', 1)[0]!;
    guests[serviceFor(request.method ?? 'GET', path)].handle(request, response);
  });
  server.on('upgrade', (request, socket, head) => {
    const path = (request.url ?? '').split('?', 1)[0]!;
    if (!guests[serviceFor('GET', path)].handleUpgrade(request, socket, head)) {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, options.port)));
    server.listen(options.port, options.host, resolve);
  });
  lifecycle.onStop('http server', () => {
    server.close();
    server.closeIdleConnections();
  });
  return { url: `http://${options.host}:${(server.address() as AddressInfo).port}` };
}

function listenError(error: NodeJS.ErrnoException, port: number): Error {
  return error.code === 'EADDRINUSE' ? portTaken(port, error) : error;
}
