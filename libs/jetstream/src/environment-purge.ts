/** What an environment has in NATS, removed: messages of every stream, and entries of every bucket of the platform. */
import { IronflowError } from '@ironflow/errors';
import { placesOfEnvironment } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Connection } from './connection.js';

/** A stream that does not exist has nothing of it. */
const noStream = 10059;

/** Rejects with `unavailable` when some of it may still be there. Sequences go on: no reader is told of a gap. */
export async function purgeEnvironment(connection: Pick<Connection, 'request'>, scope: Scope): Promise<void> {
  for (const { stream, filter } of placesOfEnvironment(scope)) {
    const subject = `$JS.API.STREAM.PURGE.${stream}`;
    const reply = await connection.request({ subject, data: JSON.stringify({ filter }) });
    if (reply.kind !== 'message') throw unavailable(stream, reply.kind);
    const { error } = JSON.parse(new TextDecoder().decode(reply.data)) as PurgeAnswer;
    if (error === undefined || error.err_code === noStream) continue;
    throw unavailable(stream, error.description ?? 'error');
  }
}

interface PurgeAnswer {
  error?: { err_code?: number; description?: string };
}

function unavailable(stream: string, why: string): IronflowError {
  return new IronflowError('unavailable', 'purge_unanswered', `${stream} cannot be purged: ${why}`);
}
