/** The platform refused, or could not be reached. */
export class IronflowApiError extends Error {
  override readonly name = 'IronflowApiError';
  /** The HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** Stable, such as `event_name_invalid`; `unreachable` when there was no answer. */
  readonly code: string;
  /** Where in the input the rule was broken. */
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(of: {
    status: number;
    code: string;
    message: string;
    field?: string | undefined;
    retryAfterMs?: number | undefined;
    cause?: unknown;
  }) {
    super(of.message, of.cause === undefined ? undefined : { cause: of.cause });
    this.status = of.status;
    this.code = of.code;
    this.field = of.field;
    this.retryAfterMs = of.retryAfterMs;
  }
}

/** Whether the same request would be refused again. */
export function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}
