/**
 * The one error type that crosses a boundary (HTTP, WebSocket, journal). A code is public and stable; its category says
 * what a caller can do about it, and is the only thing that is mapped to HTTP statuses.
 */
export const errorCategories = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  too_many: 429,
  internal: 500,
  unavailable: 503,
} as const;

export type ErrorCategory = keyof typeof errorCategories;

export interface IronflowErrorOptions {
  /** Where in the input the rule was broken, as a path such as `triggers[0].event`. */
  field?: string;
  /** Seconds after which trying again makes sense; only for `unavailable` and `too_many`. */
  retryAfterSeconds?: number;
  cause?: unknown;
}

export class IronflowError extends Error {
  override readonly name = 'IronflowError';
  readonly field: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    readonly category: ErrorCategory,
    /** Stable, snake_case, part of the public interface. */
    readonly code: string,
    /** Names the rule that was broken; never contains payload. */
    message: string,
    options: IronflowErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.field = options.field;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** What a client sees of an error. */
export interface ErrorBody {
  error: { code: string; message: string; field?: string };
}

/** Maps any error to an HTTP answer; what is not an IronflowError is `internal` and tells nothing of itself. */
export function toHttpError(error: unknown): { status: number; retryAfterSeconds?: number; body: ErrorBody } {
  if (!(error instanceof IronflowError)) {
    return { status: 500, body: { error: { code: 'internal', message: 'an internal error occurred' } } };
  }
  return {
    status: errorCategories[error.category],
    ...(error.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: error.retryAfterSeconds }),
    body: {
      error: {
        code: error.code,
        message: error.message,
        ...(error.field === undefined ? {} : { field: error.field }),
      },
    },
  };
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
