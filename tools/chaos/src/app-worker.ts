/** A process of its own: one of the workers of the pull app, or of the app of the schedule. */
import { createFunction, createWorker } from '@ironflow/sdk';
import { clockFunction, functionsOf } from './cases.js';
import { createKit } from './kit.js';

const ledgerFile = process.env['LEDGER']!;
const kit = createKit('pull', ledgerFile);

const everySecond = createFunction(
  { id: clockFunction, triggers: [{ cron: '* * * * * *' }], retries: 100 },
  async ({ event, step, run }) => {
    const { scheduledAt } = event.data as { scheduledAt: string };
    await step.run('note', ({ attempt }) => kit.noteFiring(run.id, scheduledAt, attempt));
  },
);

const app = process.env['APP']!;
const functions = app === 'chaos-clock' ? [everySecond] : functionsOf('pull', ledgerFile);
const worker = createWorker({ app, functions, slots: 200, log: () => undefined });
process.send?.('ready');
// Tries for ever: the platform may be out of reach just now.
await worker.start();
