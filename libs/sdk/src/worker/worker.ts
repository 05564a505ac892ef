/**
 * `createWorker`: takes activations of one app over a WebSocket (pull) and runs them in this process. It holds one
 * connection, for ever: when it is lost, everything it ran is aborted and the next connection is made at once, then with
 * growing pauses.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { protocolVersion } from '@ironflow/schema';
import type { ExecutorMessage } from '@ironflow/schema';
import { backoffMs } from '@ironflow/retry-policy';
import { functionsById, manifestOf } from '../app.js';
import type { AppOptions } from '../app.js';
import { IronflowApiError } from '../client/api-error.js';
import { createClient } from '../client/client.js';
import { ConfigurationError } from '../configuration-error.js';
import { readPlatform } from '../environment.js';
import type { PlatformOptions } from '../environment.js';
import { createLogger, logToStderr } from '../logger.js';
import type { Log, Logger } from '../logger.js';
import { sdkName } from '../version.js';
import { createActiveRuns } from './active-runs.js';
import type { ActiveRuns } from './active-runs.js';
import { connect } from './connection.js';
import type { Connection } from './connection.js';

export interface WorkerOptions extends AppOptions, PlatformOptions {
  /** Runs driven at once. Default 100. */
  slots?: number;
  /** Drain on SIGTERM, then let the process end as it would have. Default true. */
  handleSignals?: boolean;
  /** Where the worker's lines and those of handlers' loggers go. Default: JSON lines on stderr. */
  log?: Log;
}

export interface StopResult {
  /** Runs that were still going when time was up: aborted here, and taken up by another worker at once. */
  aborted: number;
}

export interface Worker {
  /**
   * Registers the app and connects; resolves when the platform has welcomed the worker. Tries for ever while the platform
   * is out of reach; rejects when it refuses the app or the key.
   */
  start(): Promise<void>;
  /** Takes nothing new, finishes what runs, for at most `timeoutMs` (default 30 s), and disconnects. */
  stop(options?: { timeoutMs?: number }): Promise<StopResult>;
}

const slotsDefault = 100;
const slotsMax = 10_000;
const stopTimeoutMsDefault = 30_000;
const reconnect = { attempts: Number.POSITIVE_INFINITY, initialDelayMs: 100, factor: 2, maxDelayMs: 5_000 };
/** A connection that lasted this long was a good one: the next is tried at once. */
const goodConnectionMs = 1_000;

/** Throws a ConfigurationError that names the option. */
export function createWorker(options: WorkerOptions): Worker {
  return new SocketWorker(options);
}

class SocketWorker implements Worker {
  private readonly platform;
  private readonly slots: number;
  private readonly definitions;
  private readonly manifest;
  private readonly log: Log;
  private readonly logger: Logger;
  private readonly stopping = new AbortController();
  private current: { connection: Connection; runs: ActiveRuns } | undefined;
  private started: Promise<void> | undefined;
  private stopped: Promise<StopResult> | undefined;
  private holding: Promise<void> = Promise.resolve();

  constructor(private readonly options: WorkerOptions) {
    this.platform = readPlatform(options);
    this.slots = options.slots ?? slotsDefault;
    if (!Number.isInteger(this.slots) || this.slots < 1 || this.slots > slotsMax) {
      throw new ConfigurationError(`slots: must be 1 to ${slotsMax}`, 'slots');
    }
    this.definitions = functionsById(options);
    this.manifest = manifestOf({ app: options.app, functions: options.functions });
    this.log = options.log ?? logToStderr;
    this.logger = createLogger({ log: this.log, fields: { app: options.app } });
  }

  start(): Promise<void> {
    this.started ??= this.begin();
    return this.started;
  }

  stop({ timeoutMs = stopTimeoutMsDefault } = {}): Promise<StopResult> {
    this.stopped ??= this.drain(timeoutMs);
    return this.stopped;
  }

  private async begin(): Promise<void> {
    if (this.options.handleSignals !== false) process.on('SIGTERM', this.onSigterm);
    try {
      await this.register();
      await new Promise<void>((resolve, reject) => {
        this.holding = this.hold({ onWelcome: resolve, onRefused: reject }).finally(() =>
          reject(new Error('the worker was stopped before it was connected')),
        );
      });
    } catch (thrown) {
      process.off('SIGTERM', this.onSigterm);
      throw thrown;
    }
  }

  /** As often as it takes, unless the platform refuses. */
  private async register(): Promise<void> {
    const client = createClient({ ironflowUrl: this.platform.url, apiKey: this.platform.apiKey });
    for (let failures = 1; ; failures += 1) {
      try {
        await client.apps.register(this.manifest, { signal: this.stopping.signal });
        return;
      } catch (thrown) {
        if (!(thrown instanceof IronflowApiError) || isRefusal(thrown.status)) throw thrown;
        this.logger.warn('the app could not be registered yet', { reason: thrown.message });
      }
      await this.pause(failures);
    }
  }

  /** Holds a connection until the worker is stopped. A first refusal is the caller's; later ones may pass. */
  private async hold(first: { onWelcome: () => void; onRefused: (error: Error) => void }): Promise<void> {
    for (let failures = 0, welcomed = false; !this.stopping.signal.aborted;) {
      const openedAtMs = performance.now();
      const end = await this.connectOnce(() => {
        welcomed = true;
        first.onWelcome();
      });
      if (this.stopping.signal.aborted) return;
      this.logger.warn('the connection ended', { reason: end.reason });
      if (!welcomed && end.refusal !== undefined) {
        first.onRefused(end.refusal);
        return;
      }
      const good = end.welcomed && performance.now() - openedAtMs > goodConnectionMs;
      failures = good ? 0 : failures + 1;
      if (failures > 0) await this.pause(failures).catch(() => {});
    }
  }

  private async connectOnce(onWelcome: () => void) {
    let welcomed = false;
    let refusal: Error | undefined;
    const connection = connect({
      ...this.platform,
      onOpen: () => {
        const { slots } = this;
        connection.send({ type: 'hello', v: protocolVersion, sdk: sdkName, appId: this.options.app, slots });
      },
      onMessage: (message) => {
        if (message.type === 'welcome') {
          welcomed = true;
          this.logger.info('connected', { executor: message.executor });
          onWelcome();
        } else if (message.type === 'refused') {
          refusal = new IronflowApiError({ status: 403, code: message.code, message: message.message });
        } else {
          this.dispatch(message, runs, connection);
        }
      },
    });
    const runs = createActiveRuns({ definitions: this.definitions, send: connection.send, log: this.log });
    this.current = { connection, runs };
    const { reason, refusedWithStatus: status } = await connection.ended;
    this.current = undefined;
    runs.abortAll('the connection to the platform was lost');
    if (status !== undefined && isRefusal(status)) {
      refusal ??= new IronflowApiError({
        status,
        code: 'refused',
        message: `the platform answered ${status}`,
      });
    }
    return { welcomed, refusal, reason: refusal?.message ?? reason };
  }

  private dispatch(message: ExecutorMessage, runs: ActiveRuns, connection: Connection): void {
    if (message.type === 'recorded') runs.recorded(message);
    else if (message.type === 'abort') runs.abort(message);
    else if (message.type !== 'activate') return;
    else if (runs.size < this.slots) runs.activate(message);
    else {
      this.logger.error('more runs were sent than there are slots');
      connection.terminate();
    }
  }

  private async drain(timeoutMs: number): Promise<StopResult> {
    process.off('SIGTERM', this.onSigterm);
    const { current } = this;
    this.stopping.abort(new Error('the worker is stopping'));
    let aborted = 0;
    if (current !== undefined) {
      current.connection.send({ type: 'drain' });
      await withinTime(current.runs.empty(), timeoutMs);
      aborted = current.runs.size;
      current.runs.abortAll('the worker is stopping');
      current.connection.close();
    }
    await this.holding;
    await this.started?.catch(() => {});
    return { aborted };
  }

  private readonly onSigterm = (): void => {
    this.logger.info('SIGTERM: finishing what runs');
    void this.stop().then(({ aborted }) => {
      this.logger.info('stopped', { aborted });
      // Ours was what kept the signal from ending the process.
      if (process.listenerCount('SIGTERM') === 0) process.kill(process.pid, 'SIGTERM');
    });
  };

  private pause(failures: number): Promise<void> {
    const ms = backoffMs(reconnect, failures) * (0.5 + Math.random() / 2);
    return delay(ms, undefined, { signal: this.stopping.signal });
  }
}

function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

async function withinTime(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
