// A worker as a process of its own, as it is deployed: built packages, signals, an end. Its parent hears when a step begins
// and says when it may end. Plain JavaScript, so that it runs without a build of this package.
import { createFunction, createWorker } from '@ironflow/sdk';

const tell = (message) => process.send?.(message);
/** Steps that wait for the parent's word. */
const held = [];
process.on('message', () => {
  for (const end of held.splice(0)) end();
});
// The parent is the only reason for a message channel: it must not keep the process alive after the worker has stopped.
process.channel?.unref();

const hold = createFunction(
  { id: 'hold', triggers: [], retries: { attempts: 3, initialDelayMs: 60_000 } },
  async ({ step, run }) => {
    await step.run('first', ({ attempt }) => tell({ kind: 'begun', step: 'first', runId: run.id, attempt }));
    return step.run('second', async ({ attempt }) => {
      tell({ kind: 'begun', step: 'second', runId: run.id, attempt });
      await new Promise((resolve) => held.push(resolve));
      return process.pid;
    });
  },
);

const stopTimeoutMs = process.env.STOP_TIMEOUT_MS;
const worker = createWorker({
  app: 'busy',
  functions: [hold],
  slots: 8,
  handleSignals: stopTimeoutMs === undefined,
  log: ({ message }) => tell({ kind: 'log', message }),
});
if (stopTimeoutMs !== undefined) {
  process.on('SIGTERM', async () => {
    const { aborted } = await worker.stop({ timeoutMs: Number(stopTimeoutMs) });
    tell({ kind: 'stopped', aborted });
    process.exitCode = 0;
    process.disconnect();
  });
}
await worker.start();
tell({ kind: 'ready' });
