/**
 * Parts of a process, started in order and stopped in reverse.
 * 1. A part that was started is stopped exactly once, however often and whenever `stop` is called.
 * 2. A part whose start was under way when `stop` came is stopped as soon as it is there; nothing starts after it.
 * 3. One part failing to stop does not keep the others from stopping; `stop` then rejects with all the failures.
 */
import { IronflowError } from '@ironflow/errors';
import type { Logger } from './logger.js';

export interface Stoppable {
  stop(): Promise<void>;
}

export interface Lifecycle extends Stoppable {
  /** Aborted as `stop` begins: loops and waiting requests end on it, readiness turns false. */
  readonly stopping: AbortSignal;
  /** Starts one part and remembers to stop it. Rejects with what `start` threw, or with `stopping`. */
  start<Part extends Stoppable>(
    name: string,
    start: (stopping: AbortSignal) => Part | Promise<Part>,
  ): Promise<Part>;
  /** For what is there already and has no `stop` of its own, such as a pool. */
  onStop(name: string, stop: () => unknown): void;
}

export function createLifecycle({ logger }: { logger: Logger }): Lifecycle {
  const parts: { name: string; stop: () => unknown }[] = [];
  const starting = new Set<Promise<unknown>>();
  const controller = new AbortController();
  let stopped: Promise<void> | undefined;

  async function start<Part extends Stoppable>(
    name: string,
    startPart: (stopping: AbortSignal) => Part | Promise<Part>,
  ): Promise<Part> {
    if (controller.signal.aborted) throw stoppingError(name);
    const started = (async () => {
      const part = await startPart(controller.signal);
      parts.push({ name, stop: () => part.stop() });
      return part;
    })();
    starting.add(started);
    try {
      const part = await started;
      if (controller.signal.aborted) throw stoppingError(name);
      logger.debug({ part: name }, 'started');
      return part;
    } finally {
      starting.delete(started);
    }
  }

  async function stopParts(): Promise<void> {
    await Promise.allSettled(starting);
    const failures: unknown[] = [];
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      try {
        await part.stop();
        logger.debug({ part: part.name }, 'stopped');
      } catch (error) {
        failures.push(error);
        logger.error({ part: part.name, err: error }, 'failed to stop');
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, `${failures.length} parts failed to stop`);
  }

  return {
    stopping: controller.signal,
    start,
    onStop: (name, stop) => parts.push({ name, stop }),
    stop() {
      if (stopped === undefined) {
        controller.abort();
        stopped = stopParts();
      }
      return stopped;
    },
  };
}

function stoppingError(name: string): IronflowError {
  return new IronflowError('unavailable', 'stopping', `${name} was not started: the service is stopping`);
}
