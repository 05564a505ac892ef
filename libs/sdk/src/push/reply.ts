/** A request and an answer of the push endpoint, whatever server it is mounted in. */

export interface EndpointRequest {
  method: string;
  /** Without query, as it was asked for. */
  url: string;
  header: (name: string) => string | undefined;
  /** The raw bytes: the signature is over them. */
  body: () => Promise<Uint8Array>;
  /** Calls back when the caller has gone away before the answer. */
  onGone: (listener: () => void) => void;
}

export interface Reply {
  status: number;
  body: string;
}

/** Above this a call is refused unread: an event and a thousand memoized steps of moderate size fit. */
export const callBytesMax = 64 * 1024 * 1024;

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

export function tooLarge(): UnreadableBodyError {
  return new UnreadableBodyError(413, `a call is at most ${callBytesMax} bytes`);
}
