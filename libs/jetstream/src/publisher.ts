/** Publishing into streams: acknowledged, pipelined, and with every expected refusal as a value. */
import { headerNames, schemaVersion } from '@ironflow/schema';
import type { Connection } from './connection.js';

export interface Publication {
  subject: string;
  data: string | Uint8Array;
  /** Makes a retry after a lost acknowledgement store nothing twice. Carries the environment's id. */
  messageId?: string;
  /** The last sequence that any subject of the filter may have. */
  expect?: { filter: string; lastSequence: number };
  headers?: Record<string, string>;
}

export type PublishResult =
  | { kind: 'stored'; sequence: number; duplicate: boolean }
  /** The expectation does not hold. */
  | { kind: 'conflict' }
  /** The stream holds one message per subject and has one. */
  | { kind: 'subject_taken' }
  | { kind: 'stream_full' }
  /** The stream does not exist: it has to be provisioned again. */
  | { kind: 'no_stream' }
  /** Perhaps stored: try again with the same message id. */
  | { kind: 'unanswered' }
  | { kind: 'refused'; code: number; reason: string };

export interface Publisher {
  publish(publication: Publication): Promise<PublishResult>;
}

interface AckBody {
  seq?: number;
  duplicate?: boolean;
  error?: { err_code?: number; description?: string };
}

const decoder = new TextDecoder();

/** `onNoStream` is told when a stream is missing, so that somebody provisions it. */
export function createPublisher(connection: Connection, onNoStream: () => void): Publisher {
  return {
    publish: async (publication) => {
      const reply = await connection.request({
        subject: publication.subject,
        data: publication.data,
        headers: headersOf(publication),
      });
      if (reply.kind === 'unanswered') return reply;
      if (reply.kind === 'no_responders') {
        onNoStream();
        return { kind: 'no_stream' };
      }
      return toResult(JSON.parse(decoder.decode(reply.data)) as AckBody);
    },
  };
}

function headersOf(publication: Publication): Record<string, string> {
  const headers: Record<string, string> = {
    [headerNames.schemaVersion]: schemaVersion,
    ...publication.headers,
  };
  if (publication.messageId !== undefined) headers['Nats-Msg-Id'] = publication.messageId;
  if (publication.expect !== undefined) {
    headers['Nats-Expected-Last-Subject-Sequence'] = String(publication.expect.lastSequence);
    headers['Nats-Expected-Last-Subject-Sequence-Subject'] = publication.expect.filter;
  }
  return headers;
}

function toResult(body: AckBody): PublishResult {
  if (body.error === undefined) {
    return { kind: 'stored', sequence: body.seq ?? 0, duplicate: body.duplicate === true };
  }
  const code = body.error.err_code ?? 0;
  const reason = body.error.description ?? '';
  switch (code) {
    case 10071: // wrong last sequence
    case 10164: // R3: another append to the same filter is in flight
    case 10201:
      return { kind: 'conflict' };
    case 10077: // One code for both: only the text tells them apart.
      return reason.includes('per subject') ? { kind: 'subject_taken' } : { kind: 'stream_full' };
    case 10023: // insufficient resources
    case 10047: // storage resources exceeded
      return { kind: 'stream_full' };
    default:
      return { kind: 'refused', code, reason };
  }
}
