/** A process of its own: the push app with flow control. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@ironflow/sdk';
import { limited } from './flow-functions.js';

const server = createServer((request, response) => app.node(request, response));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const app = serve({ app: 'flow-endpoint', functions: [limited('push', process.env['LEDGER']!)], url });
await app.register();
process.send?.('ready');
