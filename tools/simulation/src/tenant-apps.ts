/** The tenant's side: workers on sockets of an executor, and an endpoint that is called. The SDK's own modules drive the functions. */
import { createWorkerConnection } from '@ironflow/executor/parts';
import type { ExecutorMetrics, PushCaller, PushResult, WorkerConnection } from '@ironflow/executor/parts';
import { createActiveRuns, createPushCalls } from '@ironflow/sdk/parts';
import type { ActiveRuns, PlatformCalls } from '@ironflow/sdk/parts';
import type { IronflowFunction } from '@ironflow/sdk';
import { pushAnswerSchema } from '@ironflow/schema';
import type { ExecutorMessage, WorkerMessage, Writer } from '@ironflow/schema';
import { Process } from './process.js';
import type { World } from './process.js';

type Settlement = Parameters<typeof createWorkerConnection>[0]['settlement'];

/** Who calls a function, for what it observes. */
export interface Caller {
  process: string;
  runId: string;
  writer: Writer;
}

export interface AppCode {
  definition(functionId: string, caller: Caller): IronflowFunction | undefined;
  /** What functions ask of the platform, from that process. */
  platform(process: Process): PlatformCalls;
}

export interface PullWorkersOptions {
  process: Process;
  world: World;
  settlement: Settlement;
  metrics: ExecutorMetrics;
  code: AppCode;
}

/** Nothing waits for what loggers write. */
export const noLogs = { add: (): void => undefined };

const slotsOfWorker = 3;
const workersOfExecutor = 2;

/** The workers that an executor holds sockets of: one that is lost is replaced after a while. */
export class PullWorkers {
  onRoom: () => void = () => undefined;
  private readonly workers = new Set<PullWorker>();
  private started = 0;

  constructor(private readonly options: PullWorkersOptions) {
    for (let count = 0; count < workersOfExecutor; count += 1) this.start();
  }

  areThere(): boolean {
    return this.workers.size > 0;
  }

  haveRoom(): boolean {
    return this.pick() !== undefined;
  }

  /** Keeps none: another run may be quicker, and this one is handed back. */
  reserve(): boolean {
    return this.haveRoom();
  }

  pick(): WorkerConnection | undefined {
    for (const { connection } of this.workers) if (connection.freeSlots() > 0) return connection;
    return undefined;
  }

  loseOne(): void {
    const [worker] = this.workers;
    if (worker === undefined) return;
    this.workers.delete(worker);
    worker.lose();
    const { world, process } = this.options;
    world.time.after(world.random.between(10, 3_000), () => {
      if (process.isAlive) this.start();
    });
  }

  loseAll(): void {
    for (const worker of this.workers) worker.lose();
    this.workers.clear();
  }

  private start(): void {
    const name = `${this.options.process.name}-worker-${(this.started += 1)}`;
    this.workers.add(new PullWorker(name, this.options, () => this.onRoom()));
    this.onRoom();
  }
}

/** Messages go both ways in order, and are lost with the socket. */
class PullWorker {
  readonly connection: WorkerConnection;
  private readonly worker: Process;
  private readonly runs: ActiveRuns;
  private arriving: Caller | undefined;

  constructor(
    name: string,
    { process, world, settlement, metrics, code }: PullWorkersOptions,
    onChange: () => void,
  ) {
    this.worker = new Process(name, world);
    const definitions = {
      get: (functionId: string) => code.definition(functionId, this.arriving!),
    } as unknown as ReadonlyMap<string, IronflowFunction>;
    this.runs = createActiveRuns({
      definitions,
      platform: code.platform(this.worker),
      log: () => undefined,
      send: (message) => this.worker.tell(process, () => this.toExecutor(message)),
    });
    this.connection = createWorkerConnection({
      socket: {
        isCongested: () => false,
        send: (message) => process.tell(this.worker, () => this.toWorker(message)),
      },
      slots: slotsOfWorker,
      build: {},
      ...{ settlement, metrics, onChange, logs: noLogs },
    });
  }

  /** The socket: the worker aborts what it has, and the executor lets go of it. */
  lose(): void {
    this.worker.die();
    this.runs.abortAll('the connection was lost');
    this.connection.lost();
  }

  private toExecutor(message: WorkerMessage): void {
    if (!this.worker.isAlive) return;
    switch (message.type) {
      case 'record':
      case 'end':
      case 'aborted':
        return void this.connection.receive(message);
      default:
        // Nothing is negotiated here.
        return;
    }
  }

  private toWorker(message: ExecutorMessage): void {
    switch (message.type) {
      case 'activate':
        this.arriving = {
          process: this.worker.name,
          runId: message.invocation.run.id,
          writer: message.writer,
        };
        return this.runs.activate(message);
      case 'recorded':
        return this.runs.recorded(message);
      case 'abort':
        return this.runs.abort(message);
      case 'welcome':
      case 'refused':
      case 'drained':
        return;
    }
  }
}

/** An endpoint that answers each call, loses some, and is told when its caller has gone. */
export function pushCallerOf(of: { process: Process; world: World; code: AppCode }): PushCaller {
  let calls = 0;
  return {
    close: () => Promise.resolve(),
    call: ({ invocation, id, signal, timeoutMs }) => {
      const { process, world, code } = of;
      const endpoint = new Process(`${process.name}-call-${(calls += 1)}`, world);
      const [runId = '', activation = '', delivery = '', ...executor] = id.split('.').slice(0, -1);
      const writer = {
        activation: Number(activation),
        delivery: Number(delivery),
        executor: executor.join('.'),
      };
      const caller = { process: endpoint.name, runId, writer };
      const answer = createPushCalls({
        definitions: {
          get: (functionId: string) => code.definition(functionId, caller),
        } as unknown as ReadonlyMap<string, IronflowFunction>,
        keys: [],
        dev: true,
        platform: code.platform(endpoint),
        log: () => undefined,
      });
      return new Promise<PushResult>((resolve) => {
        const end = (result: PushResult): void => {
          cancelTimeout();
          resolve(result);
        };
        const lost = {
          kind: 'failed',
          error: { name: 'lost', message: 'the call was lost' },
          mayStillRun: true,
        } as const;
        const cancelTimeout = world.time.after(timeoutMs, () => process.whenRunning(() => end(lost)));
        const gone = new Set<() => void>();
        const leave = (): void => {
          end({ kind: 'aborted' });
          process.tell(endpoint, () => {
            for (const listener of gone) listener();
          });
        };
        if (signal.aborted) return leave();
        signal.addEventListener('abort', leave);
        const body = Buffer.from(JSON.stringify(invocation));
        const request = {
          ...{ method: 'POST', url: '/', header: () => undefined },
          body: () => Promise.resolve(body),
          onGone: (listener: () => void) => void gone.add(listener),
        };
        process.tell(
          endpoint,
          () =>
            void answer(request).then(({ status, body: text }) => {
              if (status !== 200 || world.faults.losesAnswer()) return;
              const result = { kind: 'answered', answer: pushAnswerSchema.parse(JSON.parse(text)) } as const;
              endpoint.tell(process, () => end(result));
            }),
        );
      });
    },
  };
}
