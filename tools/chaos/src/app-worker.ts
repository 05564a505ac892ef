/** A process of its own: one of the workers of the pull app, or of the app of the schedules. */
import { createWorker } from '@ironflow/sdk';
import { functionsOf } from './cases.js';
import { scheduleFunctions } from './cases/schedules.js';
import { createKit } from './kit.js';

const ledgerFile = process.env['LEDGER']!;
/** With one, the runs that it begins are pinned. */
const buildId = process.env['BUILD'];

const app = process.env['APP']!;
const functions =
  app === 'chaos-clock'
    ? scheduleFunctions(createKit('pull', ledgerFile))
    : functionsOf('pull', ledgerFile, buildId);
const build = buildId === undefined ? {} : { buildId, pinRuns: true };
const worker = createWorker({ app, functions, slots: 200, log: () => undefined, ...build });
process.send?.('ready');
// Tries for ever: the platform may be out of reach just now.
await worker.start();
