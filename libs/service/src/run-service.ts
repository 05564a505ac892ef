/** The life of a service process: start, ready, and after SIGTERM or SIGINT a bounded stop and an exit code. */
import { systemClock } from './clock.js';
import type { Clock } from './clock.js';
import { createLifecycle } from './lifecycle.js';
import type { Lifecycle } from './lifecycle.js';
import type { Logger } from './logger.js';
import { stopTimes } from './stop-times.js';

export interface RunServiceOptions {
  name: string;
  logger: Logger;
  /** Builds and starts the parts through the lifecycle; the service is ready when it resolves. */
  start(lifecycle: Lifecycle): Promise<void>;
  /** Asked as the stop begins, when what was started may have said how long it needs. */
  stopTimeoutMs?: () => number;
  clock?: Clock;
  /** What is needed of `process`, the default. */
  process?: ServiceProcess;
}

export interface ServiceProcess {
  on(event: ProcessEvent, listener: (value: unknown) => void): unknown;
  exit(code: number): void;
}
type ProcessEvent = 'SIGTERM' | 'SIGINT' | 'uncaughtException' | 'unhandledRejection';

/** 128 + the signal's number, as shells count. */
const exitCodeOfSignal = { SIGTERM: 143, SIGINT: 130 } as const;

/**
 * Exits 0 after a clean stop; 1 when the start failed, a part failed to stop, or the stop took too long. A second signal
 * exits at once. An error nobody caught is a broken invariant: the process ends there and then and is started anew.
 */
export async function runService(options: RunServiceOptions): Promise<void> {
  const { name, logger, clock = systemClock, process: host = process } = options;
  const lifecycle = createLifecycle({ logger });
  let stopping: Promise<void> | undefined;

  async function stopAndExit(exitCode: number): Promise<void> {
    const stopTimeoutMs = options.stopTimeoutMs?.() ?? stopTimes(undefined).stopTimeoutMs;
    const timer = clock.setTimeout(() => {
      logger.error({ stopTimeoutMs }, 'stopping took too long');
      host.exit(1);
    }, stopTimeoutMs);
    const finalCode = await lifecycle.stop().then(
      () => exitCode,
      () => 1,
    );
    timer.cancel();
    logger.info({ exitCode: finalCode }, `${name} stopped`);
    host.exit(finalCode);
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    host.on(signal, () => {
      if (stopping !== undefined) return host.exit(exitCodeOfSignal[signal]);
      logger.info({ signal }, `${name} stops`);
      stopping = stopAndExit(0);
    });
  }
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    host.on(event, (error) => {
      logger.fatal({ err: error }, `${name} broke: ${event}`);
      host.exit(1);
    });
  }

  try {
    await options.start(lifecycle);
    if (!lifecycle.stopping.aborted) logger.info(`${name} is ready`);
  } catch (error) {
    if (stopping === undefined) {
      logger.fatal({ err: error }, `${name} failed to start`);
      stopping = stopAndExit(1);
    }
    await stopping;
  }
}
