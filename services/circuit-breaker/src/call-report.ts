/** Reads from a journal message of a run how the call of its function went. Pure, and cheap for those that say nothing. */
import { callOutcomeSchema, journalMessageSchema } from '@ironflow/schema';
import type { CallOutcome } from '@ironflow/schema';
import { z } from 'zod';

export type CallReport =
  | { kind: 'call'; environmentId: string; functionId: string; call: CallOutcome }
  /** It ends without a call of the function, such as `started` or `deferred`. */
  | { kind: 'nothing' }
  /** Not a journal message: the collector dead-letters it. */
  | { kind: 'unreadable' };

/** Quotation marks within a JSON string are escaped, so this stands for a field only, never for something in an output. */
const callField = Buffer.from('"call":');

/** Only what is used: a journal message holds outputs, and checking all of them costs more than everything else here. */
const reportSchema = journalMessageSchema
  .pick({ environmentId: true, functionId: true })
  .extend({ entries: z.array(z.unknown()).min(1) });
const entrySchema = z.object({ run: z.object({ call: callOutcomeSchema.optional() }) });

export function readCallReport(data: Uint8Array): CallReport {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (!bytes.includes(callField)) return { kind: 'nothing' };
  const message = reportSchema.safeParse(parseJson(bytes));
  if (!message.success) return { kind: 'unreadable' };
  const { environmentId, functionId, entries } = message.data;
  // The last but one, where the run is stopping and waits for the end of that call.
  const runEntries = entries.slice(-2).map((entry) => entrySchema.safeParse(entry));
  if (runEntries.at(-1)?.success !== true) return { kind: 'unreadable' };
  const call = runEntries.findLast(({ data }) => data?.run.call !== undefined)?.data?.run.call;
  return call === undefined ? { kind: 'nothing' } : { kind: 'call', environmentId, functionId, call };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
