/** `step`: what a handler does durably. Steps begin as they are called, not as they are awaited; they do not nest. */
import type { Failure, PublishAnswer } from '@ironflow/schema';
import type { EventToEmit } from './event-to-emit.js';
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

export interface PublishOptions {
  /** Of the step; by default the topic. */
  name?: string;
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
  /** The name of the signal; by default that of the step, without the prefix of a branch. */
  signal?: string;
  /** Default: 7 days. */
  timeout?: Duration;
}

export interface ApproveOptions {
  /** How long a decision is waited for once it was asked for. Default: 7 days. */
  timeout?: Duration;
  /**
   * Asks somebody, as a step of its own: `<name>:request`. `url` is a page on which one can approve or reject, once; whoever has
   * it can. Each attempt has another one, and the first that is used decides. Without it, those decide who have a key.
   */
  request?: (context: ApprovalRequest) => unknown;
}

export interface ApprovalRequest extends StepContext {
  readonly url: string;
}

export interface ApprovalDecision {
  approved: boolean;
  comment?: string;
  /** ISO 8601. */
  decidedAt: string;
}

export interface InvokeStepOptions<Input = unknown, Output = unknown> {
  /** As it was created, or its id. */
  function: IronflowFunction<unknown, Output, Input> | string;
  data?: Input;
  /** Without it the step waits for as long as the other run takes. */
  timeout?: Duration;
}

export interface MapContext extends StepContext {
  /** Of the item, from 0. */
  readonly index: number;
}

/**
 * `failFast`, the default: the first error that the handler sees. `allSettled`: a result for each, and no error but a
 * ConfigurationError.
 */
export type ParallelMode = 'failFast' | 'allSettled';

export interface ParallelOptions<Mode extends ParallelMode = ParallelMode> {
  /** How many are under way at most; a whole number from 1, and without it all of them. */
  concurrency?: number;
  mode?: Mode;
}

/** `retries` and `timeout` are those of each item's step. */
export interface MapOptions<Mode extends ParallelMode = ParallelMode>
  extends ParallelOptions<Mode>, StepOptions {}

/** As of `Promise.allSettled`, but JSON: a function can return it. */
export type SettledResult<T> =
  { status: 'fulfilled'; value: T } | { status: 'rejected'; reason: SettledReason };

export interface SettledReason {
  /** Of the error: `StepError` for a step that used up its attempts. */
  name: string;
  message: string;
  /** Of a StepError, as are the next two. */
  stepId?: string;
  attempts?: number;
  /** What the step's last attempt threw. */
  failure?: Pick<Failure, 'name' | 'message'>;
}

type Gathered<T, Mode extends ParallelMode> = Mode extends 'allSettled' ? SettledResult<T> : T;

/** Its steps are its own `step`'s: their names begin with the name of the branch. */
export type Branch<T = unknown> = (step: StepTools) => T | Promise<T>;

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
  sendEvent(name: string, events: EventToEmit | readonly EventToEmit[]): Promise<SentEvents>;
  /**
   * Publishes a message to a topic as a step, for whoever subscribes (`client.topics.subscribe`): at most 512 KiB of JSON, kept for 7
   * days at most. With a key made of the run and the step, so that a crash before the step is recorded publishes it once, if it
   * is tried again within 10 minutes. What the platform refuses fails the step at once.
   */
  publish(topic: string, data?: unknown, options?: PublishOptions): Promise<PublishAnswer>;
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
   * Resolves once somebody has decided, by a one-time link that `request` has sent, or with a key (`client.approvals.decide`,
   * `ironflow runs approve`); or with `null` when nobody did in time. Decided once; a decision that comes early is kept.
   */
  approve(name: string, options?: ApproveOptions): Promise<ApprovalDecision | null>;
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
  /**
   * Whether this run takes the new way here: for code that changes while runs of the code before it are under way. False
   * when steps are recorded that the handler has not called by now, since then the run had been past this point before it
   * was asked; else true. The answer is recorded, and is the same for as long as the run lasts, wherever it is asked for
   * again by that id; it waits for nothing. It takes one of the run's steps, named `patched(<id>)`: no other step may have
   * a name of that form.
   */
  patched(id: string): Promise<boolean>;
  /**
   * Registers what undoes something, for the case that the run stops: it fails for good, whatever the reason, or it is
   * cancelled. Then all that it has registered by then is run, the last one first and one at a time, each as a step named
   * `compensate(<name>)` with `retries` and `timeout` of its own; one that fails for good is listed on the run
   * (`notCompensated`), and the others go on. What `undo` returns is not kept. A run that completes runs none.
   *
   * Registered is registered: whether the step that it belongs to has ended does not matter. Called after a step, it undoes
   * what has completed, and is recorded with it; called before, also what may have happened, and the step begins once
   * that is recorded. It waits for nothing.
   *
   * To undo, the function is called again: code outside of steps runs up to where the run had got, steps give what they
   * are recorded with, and nothing new begins. So `undo` may use whatever is in scope here.
   */
  compensate(name: string, undo: (context: StepContext) => unknown, options?: StepOptions): Promise<void>;
  /**
   * Runs `work` for each item as a step of its own, `name[0]`, `name[1]`…, and resolves with their outputs in the order of
   * the items. A second map of that name has `name:1[0]`…
   *
   * `failFast` rejects with the first StepError that the handler sees, and begins no further item; those that are under way
   * go on, and what becomes of them is recorded while the run lasts. `allSettled` resolves with a SettledResult for each.
   *
   * Rejects with a ConfigurationError, before anything begins, when there are more items than a map may have (1,000) or the
   * run has steps left.
   */
  map<Item, T, Mode extends ParallelMode = 'failFast'>(
    name: string,
    items: readonly Item[],
    work: (item: Item, context: MapContext) => T | Promise<T>,
    options?: MapOptions<Mode>,
  ): Promise<Gathered<Jsonified<T>, Mode>[]>;
  /**
   * Runs branches beside one another: each an async function of the `step` it is given, whose names begin with
   * `name[0].`, or `name.<key>.` when the branches are an object. So branches may use the same names, and take any time of
   * their own between steps. A second parallel of that name has `name:1[0].`…
   *
   * Resolves with what the branches return, in the shape in which they were given; that is recorded nowhere, and
   * made again in each replay. `failFast` rejects with the first error of a branch, and begins no further branch; those
   * that are under way go on while the handler does, as under `Promise.all`. `allSettled` resolves with a SettledResult
   * for each. Rejects with a ConfigurationError, before anything begins, when there are more than 1,000.
   */
  parallel<
    const Branches extends readonly Branch[] | Readonly<Record<string, Branch>>,
    Mode extends ParallelMode = 'failFast',
  >(
    name: string,
    branches: Branches,
    options?: ParallelOptions<Mode>,
  ): Promise<{
    -readonly [Key in keyof Branches]: Branches[Key] extends (step: StepTools) => infer T
      ? Gathered<Awaited<T>, Mode>
      : never;
  }>;
}
