/** A process of its own: the pull app. */
import { createWorker } from '@ironflow/sdk';
import { pullFunction, threeSteps } from './workload.js';

const worker = createWorker({ app: 'bench-worker', functions: [threeSteps(pullFunction)], slots: 512 });
await worker.start();
process.send?.('ready');
