/** The function that is measured: three steps that do nothing, so that what is measured is the platform. */
import { createFunction } from '@ironflow/sdk';

export const threeSteps = (id: string) =>
  createFunction({ id, triggers: [{ event: `${id}.started` }] }, async ({ step }) => {
    let sum = 0;
    for (const name of ['one', 'two', 'three']) sum += await step.run(name, () => 1);
    return { sum };
  });

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
