/** The functions that run while faults are injected: each step tells the ledger when it begins. */
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { createLedger } from './ledger.js';

export const faultEvent = 'fault.injected';
export const pullFunction = 'fault-pull';
export const pushFunction = 'fault-push';
export const workerApp = 'fault-worker';
export const stepNames = ['reserve', 'charge', 'ship', 'confirm'] as const;

const stepMsMin = 50;

/** Four steps with a sleep among them: about two seconds mid-way, in phases of its own for each event. */
export function faultFunction(id: string, ledgerFile: string, stepMsMax = 400): IronflowFunction {
  const note = createLedger(ledgerFile);
  return createFunction<unknown, { n: number }>(
    { id, triggers: [{ event: faultEvent }] },
    async ({ event, step, run }) => {
      for (const name of stepNames) {
        await step.run(name, async ({ attempt }) => {
          note({ what: 'begun', run: run.id, step: name, attempt });
          const durationMs = stepMs(`${id} ${event.data.n} ${name}`, stepMsMax);
          await new Promise((resolve) => setTimeout(resolve, durationMs));
          return name;
        });
        if (name === 'charge') await step.sleep('settle', '1s');
      }
      return 'done';
    },
  );
}

/** How long steps take at most where a scenario wants something else than usual, from the environment. */
export function stepMsMaxFrom(env: NodeJS.ProcessEnv): number | undefined {
  return env['STEP_MS_MAX'] === undefined ? undefined : Number(env['STEP_MS_MAX']);
}

/** The same in every run of the same scenario, so that a failure can be looked at again. */
function stepMs(seed: string, stepMsMax: number): number {
  let hash = 2_166_136_261;
  for (const character of seed) hash = Math.imul(hash ^ character.charCodeAt(0), 16_777_619) >>> 0;
  return stepMsMin + (hash % (stepMsMax - stepMsMin + 1));
}

export function everySecond(ledgerFile: string): IronflowFunction {
  const note = createLedger(ledgerFile);
  return createFunction(
    { id: 'every-second', triggers: [{ cron: '* * * * * *' }] },
    async ({ event, step, run }) => {
      const { scheduledAt } = event.data as { scheduledAt: string };
      await step.run('note', ({ attempt }) =>
        note({ what: 'fired', run: run.id, step: scheduledAt, attempt }),
      );
    },
  );
}
