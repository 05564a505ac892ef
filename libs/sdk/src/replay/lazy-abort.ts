/**
 * An AbortController that is made only when somebody asks for its signal: most steps never do, and it costs more than the
 * rest of an activation's objects.
 *
 * Objects that are made for each run or step have no accessors of their own in this folder: V8 makes a hidden class for
 * each such object, and what the accessor sees is kept with it until the next collection of the old generation. With a
 * run's activation it moved 10 kB there, a seventh of a worker's processor time.
 */

export class LazyAbort {
  private controller: AbortController | undefined;
  private reason: Error | undefined;

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.reason !== undefined) this.controller.abort(this.reason);
    }
    return this.controller.signal;
  }

  get aborted(): boolean {
    return this.reason !== undefined;
  }

  abort(reason: Error): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.controller?.abort(reason);
  }
}

const abortOf = Symbol('abort');

/** One for all objects, so that they share a hidden class. Their own and enumerable: a copy of the object has the signal. */
const signalProperty = {
  enumerable: true,
  get(this: { [abortOf]: LazyAbort }): AbortSignal {
    return this[abortOf].signal;
  },
};

/** The object itself, with the signal as one of its properties. */
export function withSignal<Context extends object>(
  context: Context,
  abort: LazyAbort,
): Context & { readonly signal: AbortSignal } {
  Object.defineProperty(context, abortOf, { value: abort });
  return Object.defineProperty(context, 'signal', signalProperty) as Context & {
    readonly signal: AbortSignal;
  };
}
