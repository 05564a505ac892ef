/** A process of its own: one of the workers of the pull app, or of the app of the schedule. */
import { createFunction, createWorker } from '@ironflow/sdk';
import { clockFunction, functionsOf } from './cases.js';
import { createKit } from './kit.js';

const ledgerFile = process.env['LEDGER']!;
const kit = createKit('pull', ledgerFile);
/** With one, the runs that it begins are pinned. */
const buildId = process.env['BUILD'];

const everySecond = createFunction(
  { id: clockFunction, triggers: [{ cron: '* * * * * *' }], retries: 100 },
  async ({ event, step, run }) => {
    const { scheduledAt } = event.data as { scheduledAt: string };
    await step.run('note', ({ attempt }) => kit.noteFiring(run.id, scheduledAt, attempt));
  },
);

const app = process.env['APP']!;
const functions = app === 'chaos-clock' ? [everySecond] : functionsOf('pull', ledgerFile, buildId);
const build = buildId === undefined ? {} : { buildId, pinRuns: true };
const worker = createWorker({ app, functions, slots: 200, log: () => undefined, ...build });
process.send?.('ready');
// Tries for ever: the platform may be out of reach just now.
await worker.start();
