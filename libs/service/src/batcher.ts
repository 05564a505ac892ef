/**
 * Group commit. Items that arrive within one turn of the event loop share a batch when nothing is in flight; under load a
 * batch is whatever gathered while the batches before it ran, so batches grow exactly as fast as they need to.
 *
 * A batch begins beside another only if it has become as large, or the other takes long: smaller ones would cost a round trip
 * and a commit each while the first is about to end.
 */
import { TurnQueue } from '@ironflow/collections';
import { IronflowError } from '@ironflow/errors';
import type { Stoppable } from './lifecycle.js';

export interface BatcherOptions<Item, Result> {
  maxItems: number;
  maxConcurrent: number;
  /** Items waiting for a batch; those in flight do not count. Above it `add` rejects with `overloaded`. */
  maxQueued: number;
  /** Items of different lines are taken in turn, so that a long line keeps nobody else waiting; one line for all by default. */
  lineOf?: (item: Item) => string;
  /** Answers with one result per item, in order. When it rejects, every item of the batch rejects with its error. */
  run(items: Item[]): Promise<Result[]>;
}

export interface Batcher<Item, Result> extends Stoppable {
  add(item: Item): Promise<Result>;
  /** Items waiting for a batch. */
  queued(): number;
  /** Refuses new items and resolves when all that were taken are settled. */
  stop(): Promise<void>;
}

/** Longer than a commit takes when all is well. */
const patienceMs = 20;

interface Waiter<Result> {
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** What waits for a batch; `take` answers items and their waiters in the same order. */
interface Waiting<Item, Result> {
  size(): number;
  add(item: Item, waiter: Waiter<Result>): void;
  take(max: number): [Item[], Waiter<Result>[]];
}

export function createBatcher<Item, Result>(options: BatcherOptions<Item, Result>): Batcher<Item, Result> {
  const waiting =
    options.lineOf === undefined ? createOneLine<Item, Result>() : createLines<Item, Result>(options.lineOf);
  let inFlight = 0;
  /** Items of the batch that began last. */
  let lastSize = 0;
  let patience: NodeJS.Timeout | undefined;
  let isScheduled = false;
  let stopped: { done: Promise<void>; settle(): void } | undefined;

  function add(item: Item): Promise<Result> {
    if (stopped !== undefined) return Promise.reject(unavailable('stopping', 'the service is stopping'));
    if (waiting.size() >= options.maxQueued) {
      return Promise.reject(unavailable('overloaded', 'too much is waiting to be written'));
    }
    const added = new Promise<Result>((resolve, reject) => {
      waiting.add(item, { resolve, reject });
    });
    if (!isScheduled && mayBegin()) {
      isScheduled = true;
      setImmediate(flushScheduled);
    }
    bePatient();
    return added;
  }

  function mayBegin(): boolean {
    if (inFlight === 0) return waiting.size() > 0;
    return inFlight < options.maxConcurrent && waiting.size() >= lastSize;
  }

  function flushScheduled(): void {
    isScheduled = false;
    flush();
  }

  function flush(): void {
    while (mayBegin()) begin();
    bePatient();
    if (waiting.size() === 0 && inFlight === 0) stopped?.settle();
  }

  function begin(): void {
    const [batch, batchWaiters] = waiting.take(options.maxItems);
    inFlight += 1;
    lastSize = batch.length;
    void runBatch(batch, batchWaiters);
  }

  /** What is under way may hang, and what waits is not for it to hold up. */
  function bePatient(): void {
    if (patience !== undefined || waiting.size() === 0 || inFlight >= options.maxConcurrent) return;
    patience = setTimeout(() => {
      patience = undefined;
      if (waiting.size() > 0 && inFlight < options.maxConcurrent) begin();
      bePatient();
    }, patienceMs);
  }

  async function runBatch(batch: Item[], batchWaiters: Waiter<Result>[]): Promise<void> {
    try {
      const results = await options.run(batch);
      if (results.length !== batchWaiters.length) {
        throw new Error(
          `a batch of ${batchWaiters.length} items was answered with ${results.length} results`,
        );
      }
      batchWaiters.forEach((waiter, index) => waiter.resolve(results[index]!));
    } catch (error) {
      for (const waiter of batchWaiters) waiter.reject(error);
    }
    inFlight -= 1;
    flush();
  }

  function stop(): Promise<void> {
    if (stopped === undefined) {
      let settle = () => {};
      const done = new Promise<void>((resolve) => (settle = resolve));
      stopped = { done, settle };
      flush();
    }
    return stopped.done;
  }

  return { add, queued: () => waiting.size(), stop };
}

function createOneLine<Item, Result>(): Waiting<Item, Result> {
  let items: Item[] = [];
  let waiters: Waiter<Result>[] = [];
  return {
    size: () => items.length,
    add: (item, waiter) => {
      items.push(item);
      waiters.push(waiter);
    },
    take: (max) => {
      if (items.length > max) return [items.splice(0, max), waiters.splice(0, max)];
      const taken: [Item[], Waiter<Result>[]] = [items, waiters];
      items = [];
      waiters = [];
      return taken;
    },
  };
}

function createLines<Item, Result>(lineOf: (item: Item) => string): Waiting<Item, Result> {
  const lines = new TurnQueue<{ item: Item; waiter: Waiter<Result> }>();
  return {
    size: () => lines.size,
    add: (item, waiter) => lines.add(lineOf(item), { item, waiter }),
    take: (max) => {
      const taken = lines.take(max);
      return [taken.map(({ item }) => item), taken.map(({ waiter }) => waiter)];
    },
  };
}

/** A second is enough for a queue to drain or for another replica to take over. */
function unavailable(code: 'overloaded' | 'stopping', message: string): IronflowError {
  return new IronflowError('unavailable', code, message, { retryAfterSeconds: 1 });
}
