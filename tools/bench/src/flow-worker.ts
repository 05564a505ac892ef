/** A process of its own: a worker for the functions with flow control. */
import { createWorker } from '@ironflow/sdk';
import { limited, rated, throttled } from './flow-functions.js';

const ledgerFile = process.env['LEDGER']!;
const functions = [limited('pull', ledgerFile), throttled(ledgerFile), rated()];
const worker = createWorker({ app: 'flow-worker', functions, slots: 512 });
await worker.start();
process.send?.('ready');
