/** A process of its own: the pull app. */
import { createWorker } from '@ironflow/sdk';
import { appLog, pullFunction, sleeper, threeSteps } from './workload.js';

const functions = [threeSteps(pullFunction), sleeper()];
const worker = createWorker({ app: 'bench-worker', functions, slots: 512, ...appLog });
await worker.start();
process.send?.('ready');
