/**
 * Frames of an executor, read. An activation is read in two stages, so that one that a later executor words differently
 * costs the run it is about an answer, and not every run of this connection.
 */
import { z } from 'zod';
import { executorMessageSchema, isInvocationVersion, uuidSchema, writerSchema } from '@ironflow/schema';
import type { ExecutorMessage, Outcome, Writer } from '@ironflow/schema';

export type DeclineReason = Extract<Outcome, { kind: 'declined' }>['reason'];

/** An activation that this worker cannot drive. */
export interface UndrivableActivation {
  type: 'undrivable';
  runId: string;
  writer: Writer;
  reason: DeclineReason;
}
export type ReadMessage = ExecutorMessage | UndrivableActivation;

/** What every version of an activation has: enough to hand it back. */
const activateHeadSchema = z.object({
  type: z.literal('activate'),
  writer: writerSchema,
  invocation: z.object({ v: z.number().int(), run: z.object({ id: uuidSchema }) }),
});

/** Those of which the protocol says the form; others are of a later version. */
const knownTypes: ReadonlySet<unknown> = new Set(
  executorMessageSchema.options.map((option) => option.shape.type.value),
);

/** Messages of a type that this version does not know are left out; `undefined` when one cannot be read. */
export function readFrame(bytes: Buffer): ReadMessage[] | undefined {
  const messages = parseJson(bytes);
  if (!Array.isArray(messages)) return undefined;
  const read: ReadMessage[] = [];
  for (const raw of messages as unknown[]) {
    const message = readMessage(raw);
    if (message === undefined) return undefined;
    if (message !== 'unknown') read.push(message);
  }
  return read;
}

function readMessage(raw: unknown): ReadMessage | 'unknown' | undefined {
  const type = typeof raw === 'object' && raw !== null && 'type' in raw ? raw.type : undefined;
  if (typeof type === 'string' && !knownTypes.has(type)) return 'unknown';
  if (type !== 'activate') return executorMessageSchema.safeParse(raw).data;
  const head = activateHeadSchema.safeParse(raw).data;
  if (head === undefined) return undefined;
  const { writer, invocation } = head;
  const declined = (reason: DeclineReason): UndrivableActivation => ({
    type: 'undrivable',
    runId: invocation.run.id,
    writer,
    reason,
  });
  if (!isInvocationVersion(invocation.v)) return declined('protocol_version_unsupported');
  return executorMessageSchema.safeParse(raw).data ?? declined('invocation_invalid');
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}
