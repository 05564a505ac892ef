/** The functions that run while faults are injected: each step tells the ledger when it begins and when it is durable. */
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { createLedger } from './ledger.js';

export const faultEvent = 'fault.injected';
export const stepNames = ['reserve', 'charge', 'ship', 'confirm'] as const;

const stepMs = 150;

/** Four steps with a sleep among them: about two seconds mid-way. */
export function faultFunction(id: string, ledgerFile: string): IronflowFunction {
  const note = createLedger(ledgerFile);
  return createFunction({ id, triggers: [{ event: faultEvent }] }, async ({ step, run }) => {
    for (const name of stepNames) {
      await step.run(name, async ({ attempt }) => {
        note({ what: 'begun', run: run.id, step: name, attempt });
        await new Promise((resolve) => setTimeout(resolve, stepMs));
        return name;
      });
      note({ what: 'acknowledged', run: run.id, step: name, attempt: 0 });
      if (name === 'charge') await step.sleep('settle', '1s');
    }
    return 'done';
  });
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
