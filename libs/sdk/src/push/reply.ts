/** A request and an answer of the push endpoint, whatever server it is mounted in. */
import { limits } from '@ironflow/schema';

export interface EndpointRequest {
  method: string;
  /** Without query, as it was asked for. */
  url: string;
  header: (name: string) => string | undefined;
  /** Reads the raw bytes, no more than are allowed: the signature is over them. */
  body: () => Promise<Uint8Array>;
  /** Calls back when the caller has gone away before the answer. */
  onGone: (listener: () => void) => void;
}

export interface Reply {
  status: number;
  body: string;
  headers?: Readonly<Record<string, string>>;
}

/** Above this a call is refused: what a run remembers at most, as text within JSON, and an event and keys besides. */
export const callBytesMax = 2 * (limits.runMemoBytesMax + limits.batchBytesMax) + 8 * 1024 * 1024;

export function jsonReply(status: number, body: unknown): Reply {
  return { status, body: JSON.stringify(body) };
}

export function errorReply(status: number, code: string, message: string, field?: string): Reply {
  return jsonReply(status, { error: { code, message, ...(field === undefined ? {} : { field }) } });
}

/** The body does not come, or not as bytes. */
export class UnreadableBodyError extends Error {
  constructor(
    readonly status: 400 | 413 | 500,
    message: string,
  ) {
    super(message);
  }
}

/** Chunk by chunk, so that what is too long is never held. */
export async function collectBytes(
  chunks: AsyncIterable<Uint8Array>,
  declaredLength: string | undefined,
): Promise<Uint8Array> {
  if (Number(declaredLength ?? 0) > callBytesMax) throw tooLarge();
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > callBytesMax) throw tooLarge();
    parts.push(chunk);
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function tooLarge(): UnreadableBodyError {
  return new UnreadableBodyError(413, `a call is at most ${callBytesMax} bytes`);
}
