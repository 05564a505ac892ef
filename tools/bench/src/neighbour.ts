/** A process of its own: the apps of the environment beside which another floods, one of each mode. */
import { appendFile } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createWorker, serve } from '@ironflow/sdk';
import { neighbourPull, neighbourPush, noting } from './workload.js';

const file = process.env['BEGINNINGS']!;
const note = (run: string, atMs: number): void =>
  appendFile(file, `${run} ${atMs}\n`, (error) => {
    if (error !== null) throw error;
  });
const worker = createWorker({
  app: 'neighbour-worker',
  functions: [noting(neighbourPull, note)],
  slots: 512,
});
await worker.start();
const server = createServer((request, response) => void app.node(request, response));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const app = serve({ app: 'neighbour-endpoint', functions: [noting(neighbourPush, note)], url });
await app.register();
process.send?.('ready');
