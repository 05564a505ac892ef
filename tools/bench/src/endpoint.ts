/** A process of its own: the push app. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@ironflow/sdk';
import { appLog, pushFunction, threeSteps } from './workload.js';

const server = createServer((request, response) => void app.node(request, response));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const app = serve({ app: 'bench-endpoint', functions: [threeSteps(pushFunction)], url, ...appLog });
await app.register();
process.send?.('ready');
