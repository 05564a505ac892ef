/** A process of its own: the push app. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@ironflow/sdk';
import { faultFunction, pushFunction, stepMsMaxFrom } from './fault-functions.js';

const server = createServer((request, response) => app.node(request, response));
const host = process.env['HOST'] ?? '127.0.0.1';
await new Promise<void>((resolve) => server.listen(0, host, resolve));
const url = `http://${host}:${(server.address() as AddressInfo).port}/`;
const app = serve({
  app: 'fault-endpoint',
  functions: [faultFunction(pushFunction, process.env['LEDGER']!, stepMsMaxFrom(process.env))],
  url,
});
await app.register();
process.send?.('ready');
