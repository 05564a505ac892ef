/** A process of its own: the worker that is killed. */
import { createWorker } from '@ironflow/sdk';
import { everySecond, faultFunction, pullFunction, stepMsMaxFrom, workerApp } from './fault-functions.js';

const ledgerFile = process.env['LEDGER']!;
const functions = [faultFunction(pullFunction, ledgerFile, stepMsMaxFrom(process.env))];
if (process.env['WITH_CRON'] === 'true') functions.push(everySecond(ledgerFile));
const worker = createWorker({ app: workerApp, functions, slots: 512 });
await worker.start();
process.send?.('ready');
