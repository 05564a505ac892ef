/** Where this lib says what it met; the service's logger stands behind it. Nothing of a message's content gets here. */
export interface JetStreamLog {
  info(message: string): void;
  /** Something went wrong and is tried again, or was given up. */
  warn(message: string): void;
}

/** What was thrown, in words for a line: what a parser says quotes the text that it could not read. */
export function describeThrown(thrown: unknown): string {
  if (!(thrown instanceof Error)) return typeof thrown;
  return thrown.name === 'SyntaxError' ? thrown.name : thrown.message;
}
