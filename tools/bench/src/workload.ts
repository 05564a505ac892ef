/** The function that is measured: three steps that do nothing, so that what is measured is the platform. */
import { createFunction } from '@ironflow/sdk';

/** Of each run; of the processes of apps. */
export const logLinesVariable = 'BENCH_LOG_LINES';
const logLines = Number(process.env[logLinesVariable] ?? 0);

export const threeSteps = (id: string) =>
  createFunction({ id, triggers: [{ event: `${id}.started` }] }, async ({ step, logger }) => {
    let sum = 0;
    for (let line = 0; line < logLines; line += 1) logger.info('one of the lines of a run', { line, id });
    for (const name of ['one', 'two', 'three']) sum += await step.run(name, () => 1);
    return { sum };
  });

/** What lines cost where they are written to is the app's own affair. */
export const appLog = logLines > 0 ? { log: () => undefined } : {};

export const pullFunction = 'bench-pull';
export const pushFunction = 'bench-push';
export const sleeperFunction = 'bench-sleeper';
export const neighbourPull = 'neighbour-pull';
export const neighbourPush = 'neighbour-push';

/** The same three steps; each time the function is called, it is noted which of them it was and when. */
export const noting = (id: string, note: (run: string, atMs: number) => void) =>
  createFunction<unknown, { n: number }>({ id, triggers: [{ event: `${id}.started` }] }, async (context) => {
    note(`${id}.${context.event.data.n}`, Date.now());
    let sum = 0;
    for (const name of ['one', 'two', 'three']) sum += await context.step.run(name, () => 1);
    return { sum };
  });

/** Sleeps until it is told to wake, and does one thing more. */
export const sleeper = () =>
  createFunction<unknown, { untilMs: number }>(
    { id: sleeperFunction, triggers: [{ event: `${sleeperFunction}.started` }] },
    async ({ event, step }) => {
      await step.sleepUntil('nap', new Date(event.data.untilMs));
      await step.run('woke', () => 1);
    },
  );
