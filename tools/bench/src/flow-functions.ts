/** The functions whose flow control is shown: they tell the ledger themselves when they are at work. */
import { setTimeout as pause } from 'node:timers/promises';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction, RateOptions } from '@ironflow/sdk';
import { createLedger } from './ledger.js';

export interface FlowData {
  n: number;
  key: string;
}

export type FlowMode = 'pull' | 'push';

export const limitedEvent = (mode: FlowMode): string => `flow.limited.${mode}`;
export const throttledEvent = 'flow.throttled';
export const ratedEvent = 'flow.rated';
export const throttledFunction = 'flow-throttled';
export const ratedFunction = 'flow-rated';

export const concurrencyLimit = 5;
export const throttle = { limit: 50, period: '1s', burst: 5 } as const satisfies RateOptions;
export const rateLimit = { limit: 100, period: '10s', burst: 20 } as const satisfies RateOptions;

const key = 'event.data.key';

/** One counts together with the other: a key has its slots for both. */
export function limited(mode: FlowMode, ledgerFile: string): IronflowFunction {
  const note = createLedger(ledgerFile);
  return createFunction<unknown, FlowData>(
    {
      id: `flow-limited-${mode}`,
      triggers: [{ event: limitedEvent(mode) }],
      concurrency: { limit: concurrencyLimit, key, scope: 'env' },
    },
    async ({ event, step, run }) => {
      const work = (name: string) =>
        step.run(name, async ({ attempt, signal }) => {
          const line = { run: run.id, step: name, attempt, key: event.data.key, pid: process.pid };
          note({ what: 'begun', ...line });
          try {
            await pause(workMs(event.data.n), undefined, { signal });
          } catch (error) {
            note({ what: 'stopped', ...line });
            throw error;
          }
          note({ what: 'ended', ...line });
        });
      await work('first');
      if (event.data.n % 3 !== 0) return;
      await step.sleep('rest', '50ms');
      await work('second');
    },
  );
}

export function throttled(ledgerFile: string): IronflowFunction {
  const note = createLedger(ledgerFile);
  return createFunction<unknown, FlowData>(
    { id: throttledFunction, triggers: [{ event: throttledEvent }], throttle: { ...throttle, key } },
    ({ event, run }) => note({ what: 'begun', run: run.id, step: '', attempt: 1, key: event.data.key }),
  );
}

export function rated(): IronflowFunction {
  return createFunction<unknown, FlowData>(
    { id: ratedFunction, triggers: [{ event: ratedEvent }], rateLimit: { ...rateLimit, key } },
    () => 'done',
  );
}

/** 100 to 299 ms, the same for the same event: most of the time for which a run has its slot. */
function workMs(n: number): number {
  return 100 + ((n * 37) % 200);
}
