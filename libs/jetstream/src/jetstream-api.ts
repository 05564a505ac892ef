/** Requests to JetStream's own API. What it refuses is a value here: which refusals are errors, its callers know. */
import { IronflowError } from '@ironflow/errors';
import type { Connection } from './connection.js';

export interface ApiError {
  /** As of HTTP. */
  code?: number;
  err_code?: number;
  description?: string;
}

export const streamNotFoundCode = 10059;
export const noMessageFoundCode = 10037;

const decoder = new TextDecoder();

/** Rejects with `unavailable` when nobody answers. */
export async function askApi<Answer extends object>(
  connection: Pick<Connection, 'request'>,
  call: string,
  body: object,
): Promise<Answer & { error?: ApiError }> {
  const subject = `$JS.API.${call}`;
  const reply = await connection.request({ subject, data: JSON.stringify(body) });
  if (reply.kind === 'message')
    return JSON.parse(decoder.decode(reply.data)) as Answer & { error?: ApiError };
  throw new IronflowError('unavailable', 'jetstream_unanswered', `JetStream: ${call}: ${reply.kind}`);
}

export function refusalOf(call: string, error: ApiError): IronflowError {
  const message = `JetStream: ${call}: ${error.description ?? 'error'}`;
  if (error.err_code === streamNotFoundCode)
    return new IronflowError('not_found', 'stream_not_found', message);
  if (error.code === 503) return new IronflowError('unavailable', 'jetstream_unavailable', message);
  return new IronflowError('conflict', 'jetstream_refused', message);
}

/** The same, for those to whom every refusal is an error. */
export async function requireApi<Answer extends object>(
  connection: Pick<Connection, 'request'>,
  call: string,
  body: object,
): Promise<Answer> {
  const { error, ...answer } = await askApi<Answer>(connection, call, body);
  if (error !== undefined) throw refusalOf(call, error);
  return answer as unknown as Answer;
}
