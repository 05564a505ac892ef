/**
 * The ledger: what the functions really did, written by their steps to a file outside of the platform, so that the demo
 * need not believe the platform's own records. One JSON line as the body of a step begins, one as it ends; an attempt
 * that throws has no end.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { HandlerContext, StepContext, StepTools } from '@ironflow/sdk';
import { z } from 'zod';
import { payloadOfDelivery } from './payloads.js';

const ledgerLineSchema = z.object({
  /** Milliseconds since 1970. */
  at: z.number(),
  /** Tells this demo's webhook from that of another one with the same payload. */
  delivery: z.string(),
  payload: z.number(),
  function: z.string(),
  run: z.string(),
  step: z.string(),
  attempt: z.number(),
  kind: z.enum(['begin', 'end']),
});
export type LedgerLine = z.infer<typeof ledgerLineSchema>;

export interface Ledger {
  write(line: LedgerLine): void;
}

export function openLedger(path: string): Ledger {
  // Written before the step goes on: a process that is killed has said what it did.
  return { write: (line) => appendFileSync(path, `${JSON.stringify(line)}\n`) };
}

/** The lines of one demo. */
export function readLedger(path: string, isOurs: (delivery: string) => boolean): LedgerLine[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => ledgerLineSchema.parse(JSON.parse(text)))
    .filter((line) => isOurs(line.delivery));
}

/** The handler as it is, with the body of each of its steps noted. */
export function noteSteps<Data, Output>(
  ledger: Ledger,
  handler: (context: HandlerContext<Data>) => Output | Promise<Output>,
): (context: HandlerContext<Data>) => Output | Promise<Output> {
  return (context) => {
    const { event, run, step } = context;
    const note = (kind: LedgerLine['kind'], name: string, { attempt }: StepContext): void => {
      const delivery = event.correlationId;
      const where = { delivery, payload: payloadOfDelivery(delivery), function: run.functionId, run: run.id };
      ledger.write({ at: Date.now(), ...where, step: name, attempt, kind });
    };
    const noted: StepTools = {
      ...step,
      run: (name, work, options) =>
        step.run(
          name,
          async (stepContext) => {
            note('begin', name, stepContext);
            const result = await work(stepContext);
            note('end', name, stepContext);
            return result;
          },
          options,
        ),
    };
    return handler({ ...context, step: noted });
  };
}
