/** `step`: what a handler does durably. Steps begin as they are called, not as they are awaited; they do not nest. */
import type { EmittedEvent } from '@ironflow/schema';
import type { Duration } from './duration.js';
import type { IronflowFunction, Retries, TypedEvent } from './function.js';
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

export interface WaitForEventOptions {
  /** The name of the event, without wildcards. */
  event: string;
  /** CEL over `event`, the one that came, and `trigger`, the one that started the run: `event.data.total > 100`. */
  if?: string;
  /** A path such as `data.orderId` whose value, a text, number or boolean, both events must share; quicker than `if`. */
  match?: string;
  /** Default: 7 days. */
  timeout?: Duration;
}

export interface WaitForSignalOptions {
  /** Default: 7 days. */
  timeout?: Duration;
}

export interface InvokeStepOptions<Input = unknown, Output = unknown> {
  /** As it was created, or its id. */
  function: IronflowFunction<unknown, Output, Input> | string;
  data?: Input;
  /** Without it the step waits for as long as the other run takes. */
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
   * Resolves with the first event of that name for which `if` and `match` hold, or with `null` when there was none in time.
   * Looks back to the moment the run's own event was received, so that one that came early is not missed. An event
   * resolves one wait of a run: of several that it fits, the one that was called first. One on which the condition fails is
   * passed over; a condition that is no CEL fails the step.
   */
  waitForEvent<Data = unknown>(name: string, options: WaitForEventOptions): Promise<TypedEvent<Data> | null>;
  /**
   * Resolves with the data of a signal of the step's name that is sent to the run (`client.signal`, `ironflow runs
   * signal`), or with `null` when there was none in time. Those sent before are kept; each is taken once, in their order.
   */
  waitForSignal<Data = unknown>(name: string, options?: WaitForSignalOptions): Promise<Data | null>;
  /**
   * Runs another function of this environment and resolves with what it returns. Rejects with a StepError when it fails,
   * is cancelled or does not end in time; it goes on by itself when this run ends before. Started once, whatever crashes.
   */
  invoke<Output, Input>(
    name: string,
    options: InvokeStepOptions<Input, Output>,
  ): Promise<Jsonified<Awaited<Output>>>;
  /** Starts another function of this environment and does not wait for it. */
  invokeAsync<Input>(
    name: string,
    options: Omit<InvokeStepOptions<Input>, 'timeout'>,
  ): Promise<{ eventId: string }>;
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
