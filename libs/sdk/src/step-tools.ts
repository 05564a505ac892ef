/** `step`: what a handler does durably. Steps begin as they are called, not as they are awaited; they do not nest. */
import type { EmittedEvent } from '@ironflow/schema';
import type { Duration } from './duration.js';
import type { Retries } from './function.js';
import type { Jsonified } from './output.js';

export interface StepContext {
  /** Aborted when the attempt's time is up, the run is cancelled, or this activation is over for this process. */
  readonly signal: AbortSignal;
  /** From 1. */
  readonly attempt: number;
}

export interface SentEvents {
  /** Of the events, in their order. */
  ids: string[];
}

export interface StepOptions {
  /** In place of the function's own. */
  retries?: Retries;
  /**
   * In place of the function's `stepTimeout`: what one attempt may take. The attempt's `signal` fires, nothing waits for
   * `work` any more, and the attempt has failed with `StepTimeout`.
   */
  timeout?: Duration;
}

export interface StepTools {
  /**
   * Runs `work` and records what it returns before it resolves. The value went through JSON, on the first run too. A step
   * is told by its name and its occurrence: `name`, then `name:1`, `name:2`. Rejects with a StepError when its attempts
   * are used up.
   *
   * Await what matters: a handler that returns ends the run, and a step that waits for its next attempt then gets none.
   */
  run<T>(
    name: string,
    work: (context: StepContext) => T | Promise<T>,
    options?: StepOptions,
  ): Promise<Jsonified<T>>;
  /**
   * Sends events as a step: with the run's correlation id, caused by the run's event, and each with an idempotency key made of
   * the run and the step, so that a crash before the step is recorded sends none twice (within the 24 hours that keys hold).
   * What the platform refuses fails the step at once.
   */
  sendEvent(name: string, events: EmittedEvent | readonly EmittedEvent[]): Promise<SentEvents>;
  /**
   * Resolves when the time has passed, by the platform's clock; the run occupies nobody meanwhile.
   *
   * It wins no race against a step that is running: the run is woken for it only after that step has ended. A step's own
   * time is bounded by its `timeout`.
   */
  sleep(name: string, duration: Duration): Promise<void>;
  /** A time that has passed resolves at once. */
  sleepUntil(name: string, time: Date): Promise<void>;
}
