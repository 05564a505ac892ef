/**
 * A process of its own: a push app that works or fails as it is told by `PUT /<mode>`, and notes its calls. Nothing else is done to it,
 * so that what its breaker does follows from its answers.
 */
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createLedger } from '@ironflow/bench';
import type { Invocation } from '@ironflow/schema';
import { createFunction, serve } from '@ironflow/sdk';
import type { EventData } from './case.js';
import { fragileFunction } from './cases/breakers.js';
import type { EndpointMode } from './cases/breakers.js';

const note = createLedger(process.env['LEDGER']!);
let mode: EndpointMode = 'works';

const server = createServer((request, response) => {
  if (request.method === 'PUT') {
    mode = request.url!.slice(1) as EndpointMode;
    response.end();
  } else if (mode === 'works') app.node(request, response);
  else {
    void readInvocation(request).then(({ run }) => {
      note({ what: 'called', run: run.id, step: 'fails', attempt: run.attempt });
      response.writeHead(500).end();
    });
  }
});
const port = Number(process.env['PORT']);
await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
const app = serve({
  app: 'chaos-fragile',
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
      ({ event, run }) => {
        note({ what: 'called', run: run.id, step: 'works', attempt: 1 });
        return (event.data as EventData<{ n: number }>).input.n;
      },
    ),
  ],
  url: `http://127.0.0.1:${port}/`,
  log: () => undefined,
});
await app.register();
process.send?.('ready');

async function readInvocation(request: IncomingMessage): Promise<Invocation> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Invocation;
}
