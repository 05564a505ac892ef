/** An AbortController that is made only when somebody asks for its signal: most steps never do. */

export interface LazyAbort {
  readonly signal: AbortSignal;
  readonly aborted: boolean;
  abort(reason: Error): void;
}

export function createLazyAbort(): LazyAbort {
  let controller: AbortController | undefined;
  let reason: Error | undefined;
  return {
    get signal() {
      if (controller === undefined) {
        controller = new AbortController();
        if (reason !== undefined) controller.abort(reason);
      }
      return controller.signal;
    },
    get aborted() {
      return reason !== undefined;
    },
    abort(cause) {
      if (reason !== undefined) return;
      reason = cause;
      controller?.abort(cause);
    },
  };
}
