/**
 * A process of its own: a push app that fails, hangs or works as it is told, and remembers when it was called and how it was then.
 * `PUT /<mode>` tells it, `GET /` asks it for its calls.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFunction, serve } from '@ironflow/sdk';
import { fragileFunction } from './breaker-calls.js';
import type { EndpointCall, EndpointMode } from './breaker-calls.js';

let mode: EndpointMode = 'works';
const calls: EndpointCall[] = [];

const server = createServer((request, response) => {
  if (request.method === 'PUT') {
    mode = request.url!.slice(1) as EndpointMode;
    response.end();
    return;
  }
  if (request.method === 'GET') {
    response.end(JSON.stringify(calls));
    return;
  }
  calls.push({ atMs: Date.now(), mode });
  if (mode === 'works') return void app.node(request, response);
  request.resume();
  // One that hangs answers nobody: whoever called gives up at the deadline.
  if (mode === 'fails') response.writeHead(500).end();
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const app = serve({
  app: 'fragile-endpoint',
  functions: [
    createFunction(
      {
        id: fragileFunction.id,
        triggers: [{ event: fragileFunction.event }],
        retries: { attempts: 100, initialDelayMs: 300, factor: 1 },
        circuitBreaker: {
          consecutiveFailures: fragileFunction.failuresToOpen,
          openFor: fragileFunction.openMs,
        },
      },
      // Without a step, so that a run makes one call.
      () => 'done',
    ),
  ],
  url,
});
await app.register();
process.send?.({ url });
