/** A process of its own: the push app, at an address that it keeps when it is started again. */
import { createServer } from 'node:http';
import { serve } from '@ironflow/sdk';
import { functionsOf } from './cases.js';

const server = createServer((request, response) => app.node(request, response));
const port = Number(process.env['PORT']);
await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
const app = serve({
  app: 'chaos-push',
  functions: functionsOf('push', process.env['LEDGER']!),
  url: `http://127.0.0.1:${port}/`,
  log: () => undefined,
});
process.send?.('ready');
// As a deployment does until it succeeds: the platform may be out of reach just now.
for (;;) {
  const registered = await app.register().then(
    () => true,
    () => false,
  );
  if (registered) break;
  await new Promise((resolve) => setTimeout(resolve, 500));
}
