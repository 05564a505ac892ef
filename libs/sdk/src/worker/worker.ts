/**
 * `createWorker`: takes activations of one app over a WebSocket (pull) and runs them in this process. It holds one
 * connection, for ever: when it is lost, everything it ran is aborted and the next connection is made at once, then with
 * growing pauses.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { buildIdSchema, protocolVersion } from '@ironflow/schema';
import { backoffMs } from '@ironflow/retry-policy';
import { functionsById, manifestOf } from '../app.js';
import type { AppOptions } from '../app.js';
import { IronflowApiError, isRefusal } from '../client/api-error.js';
import { createClient } from '../client/client.js';
import { ConfigurationError } from '../configuration-error.js';
import { readPlatform, readWorkerUrl } from '../environment.js';
import type { PlatformOptions } from '../environment.js';
import { createLogger, logToStderr } from '../logger.js';
import type { Log, Logger } from '../logger.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import { createSettings } from '../settings.js';
import { sdkName } from '../version.js';
import { createActiveRuns } from './active-runs.js';
import type { ActiveRuns } from './active-runs.js';
import { connect } from './connection.js';
import type { Connection } from './connection.js';
import type { ReadMessage } from './executor-messages.js';

export interface WorkerOptions extends AppOptions, PlatformOptions {
  /**
   * Where executors are reached, if that is another address than the platform's: inside a cluster, past its gateway.
   * Default: IRONFLOW_WORKER_URL, then `ironflowUrl`.
   */
  workerUrl?: string | undefined;
  /**
   * Of this worker's code, such as its commit: 1 to 64 of A-Z, a-z, 0-9, "_" and "-". The worker is given the runs that are
   * pinned to it, besides those that are pinned to none.
   */
  buildId?: string;
  /**
   * Pins each run of which this worker is the first to record a step to `buildId`: from then on only workers of that build
   * get it, and it waits while there is none. Default false.
   */
  pinRuns?: boolean;
  /** Runs driven at once. Default 100. */
  slots?: number;
  /** Drain on SIGTERM, then let the process end as it would have. Default true. */
  handleSignals?: boolean;
  /** Where the worker's lines and those of handlers' loggers go. Default: JSON lines on stderr. */
  log?: Log;
}

export interface StopResult {
  /** Runs that were still going when time was up or the connection was lost: aborted here, taken up by another worker. */
  aborted: number;
}

export interface Worker {
  /**
   * Registers the app and connects; resolves when the platform has welcomed the worker. Tries for ever while the platform
   * is out of reach; rejects when it refuses the app or the key.
   */
  start(): Promise<void>;
  /**
   * Takes nothing new, finishes what runs, for at most `timeoutMs` (default 30 s), and disconnects. What is left goes to
   * another worker without having used an attempt.
   */
  stop(options?: { timeoutMs?: number }): Promise<StopResult>;
}

const slotsDefault = 100;
const slotsMax = 10_000;
const stopTimeoutMsDefault = 30_000;
/** How long an executor may take to say that it has sent its last activation. */
const drainedTimeoutMs = 1_000;
const reconnect = { attempts: Number.POSITIVE_INFINITY, initialDelayMs: 100, factor: 2, maxDelayMs: 5_000 };
/** A connection that lasted this long was a good one: the next is tried at once. */
const goodConnectionMs = 1_000;

/** Throws a ConfigurationError that names the option. */
export function createWorker(options: WorkerOptions): Worker {
  return new SocketWorker(options);
}

class SocketWorker implements Worker {
  private readonly platform;
  private readonly workerUrl: string;
  private readonly slots: number;
  private readonly build: { buildId?: string; pinRuns?: true };
  private readonly definitions;
  private readonly manifest;
  private readonly client;
  private readonly calls: PlatformCalls;
  private readonly log: Log;
  private readonly logger: Logger;
  private readonly stopping = new AbortController();
  private current: CurrentConnection | undefined;
  private started: Promise<void> | undefined;
  private stopped: Promise<StopResult> | undefined;
  private signalled = false;
  /** Since the worker is stopping. */
  private aborted = 0;
  private holding: Promise<void> = Promise.resolve();

  constructor(private readonly options: WorkerOptions) {
    this.platform = readPlatform(options);
    this.workerUrl = readWorkerUrl(options.workerUrl, this.platform.url);
    this.slots = options.slots ?? slotsDefault;
    if (!Number.isInteger(this.slots) || this.slots < 1 || this.slots > slotsMax) {
      throw new ConfigurationError(`slots: must be 1 to ${slotsMax}`, 'slots');
    }
    this.build = readBuild(options);
    this.definitions = functionsById(options);
    this.manifest = manifestOf({ app: options.app, functions: options.functions });
    this.client = createClient({ ironflowUrl: this.platform.url, apiKey: this.platform.apiKey });
    this.calls = {
      ...this.client,
      ...createSettings(() => this.client, { watchUntil: this.stopping.signal }),
    };
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
    for (let failures = 1; ; failures += 1) {
      try {
        await this.client.apps.register(this.manifest, { signal: this.stopping.signal });
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
    /** Of a platform that says no. */
    let lastWord: string | undefined;
    let onDrained!: () => void;
    const drained = new Promise<void>((resolve) => (onDrained = resolve));
    const connection = connect({
      url: this.workerUrl,
      apiKey: this.platform.apiKey,
      onOpen: () => {
        const { slots, build } = this;
        const appId = this.options.app;
        current.open = true;
        connection.send({ type: 'hello', v: protocolVersion, sdk: sdkName, appId, slots, ...build });
      },
      onMessage: (message) => {
        if (message.type === 'welcome' && message.v === protocolVersion) {
          welcomed = true;
          this.logger.info('connected', { executor: message.executor });
          if (message.buildId !== this.build.buildId) {
            this.logger.warn('this platform knows of no builds yet: no run is pinned');
          }
          onWelcome();
        } else if (message.type === 'welcome') {
          refusal = versionRefusal(message.v);
          connection.terminate();
        } else if (message.type === 'refused') {
          lastWord = message.message;
          if (message.code !== passingRefusal) refusal = refusalOf(403, message);
        } else if (message.type === 'drained') onDrained();
        else this.dispatch(message, runs, connection);
      },
    });
    const runs = createActiveRuns({
      definitions: this.definitions,
      send: connection.send,
      platform: this.calls,
      log: this.log,
    });
    const current: CurrentConnection = { connection, runs, drained, open: false };
    this.current = current;
    const { reason, refusedWithStatus: status } = await connection.ended;
    this.current = undefined;
    const lost = runs.abortAll('the connection to the platform was lost');
    if (this.stopping.signal.aborted) this.aborted += lost;
    if (status !== undefined && isRefusal(status)) {
      refusal ??= refusalOf(status, { code: 'refused', message: `the platform answered ${status}` });
    }
    return { welcomed, refusal, reason: refusal?.message ?? lastWord ?? reason };
  }

  private dispatch(message: ReadMessage, runs: ActiveRuns, connection: Connection): void {
    if (message.type === 'recorded') runs.recorded(message);
    else if (message.type === 'abort') runs.abort(message);
    else if (message.type === 'undrivable') {
      const { runId, reason } = message;
      this.logger.warn('a run was handed back: this SDK cannot read its activation', { runId, reason });
      runs.decline(message);
    } else if (message.type !== 'activate') return;
    else if (runs.size < this.slots) runs.activate(message);
    else {
      this.logger.error('more runs were sent than there are slots');
      connection.terminate();
    }
  }

  private async drain(timeoutMs: number): Promise<StopResult> {
    this.stopping.abort(new Error('the worker is stopping'));
    if (this.current !== undefined) await this.drainConnection(this.current, timeoutMs);
    await this.holding;
    await this.started?.catch(() => {});
    // Not before: a second signal would end the process in the middle of it.
    process.off('SIGTERM', this.onSigterm);
    return { aborted: this.aborted };
  }

  private async drainConnection(current: CurrentConnection, timeoutMs: number): Promise<void> {
    const { connection, runs, drained, open } = current;
    const endsAtMs = performance.now() + timeoutMs;
    if (open) {
      connection.send({ type: 'drain' });
      // Until then activations are still on their way.
      const answered = Promise.race([drained, connection.ended]);
      await withinTime(answered, Math.min(timeoutMs, drainedTimeoutMs));
    }
    await withinTime(runs.empty(), endsAtMs - performance.now());
    this.aborted += runs.abortAll('the worker is stopping');
    connection.close();
  }

  private readonly onSigterm = (): void => {
    if (this.signalled) return;
    this.signalled = true;
    this.logger.info('SIGTERM: finishing what runs');
    void this.stop().then(({ aborted }) => {
      this.logger.info('stopped', { aborted });
      // Listeners like ours are what kept the signal from ending the process. The last worker of several ends it.
      if (process.listenerCount('SIGTERM') === 0) process.kill(process.pid, 'SIGTERM');
    });
  };

  private pause(failures: number): Promise<void> {
    const ms = backoffMs(reconnect, failures) * (0.5 + Math.random() / 2);
    return delay(ms, undefined, { signal: this.stopping.signal });
  }
}

function readBuild({ buildId, pinRuns = false }: WorkerOptions): { buildId?: string; pinRuns?: true } {
  if (typeof pinRuns !== 'boolean') throw new ConfigurationError('pinRuns: must be true or false', 'pinRuns');
  if (buildId === undefined) {
    if (pinRuns) throw new ConfigurationError('pinRuns: needs a buildId to pin runs to', 'pinRuns');
    return {};
  }
  const parsed = buildIdSchema.safeParse(buildId);
  if (!parsed.success) throw new ConfigurationError(`buildId: ${parsed.error.issues[0]!.message}`, 'buildId');
  return pinRuns ? { buildId, pinRuns } : { buildId };
}

/** One connection, from the attempt to make it. */
interface CurrentConnection {
  connection: Connection;
  runs: ActiveRuns;
  /** Nothing more is activated. */
  drained: Promise<void>;
  /** The platform has been greeted. */
  open: boolean;
}

/** The code of a refusal that may be another one on the next try. */
const passingRefusal = 'unavailable';

function refusalOf(status: number, said: { code: string; message: string }): IronflowApiError {
  return new IronflowApiError({ status, ...said });
}

function versionRefusal(v: number): IronflowApiError {
  const message = `the platform speaks version ${v} of the protocol, this SDK version ${protocolVersion}`;
  return refusalOf(400, { code: 'protocol_version_unsupported', message });
}

async function withinTime(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
