/** Starts busy-worker.mjs and keeps what it tells. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { eventually } from '@ironflow/testing';
import type { Tenant } from './platform-under-test.js';

export interface WorkerMessage {
  kind: 'ready' | 'begun' | 'log' | 'stopped';
  step?: 'first' | 'second';
  runId?: string;
  attempt?: number;
  message?: string;
  aborted?: number;
}

export interface WorkerProcess {
  /** What it told so far, with when that was heard. */
  readonly told: (WorkerMessage & { heardMs: number })[];
  /** Waits until it has told such a thing. */
  tells(message: WorkerMessage): Promise<WorkerMessage & { heardMs: number }>;
  begun(step: 'first' | 'second'): string[];
  /** Lets every step that is held end. */
  finishSteps(): void;
  signal(signal: NodeJS.Signals): void;
  /** How it ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export async function startWorkerProcess(
  tenant: Pick<Tenant, 'ironflowUrl' | 'apiKey'>,
  env: NodeJS.ProcessEnv = {},
): Promise<WorkerProcess> {
  const child: ChildProcess = fork(fileURLToPath(new URL('./busy-worker.mjs', import.meta.url)), {
    env: {
      PATH: process.env['PATH'],
      IRONFLOW_URL: tenant.ironflowUrl,
      IRONFLOW_API_KEY: tenant.apiKey,
      ...env,
    },
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const told: WorkerProcess['told'] = [];
  child.on('message', (message) => told.push({ ...(message as WorkerMessage), heardMs: performance.now() }));
  const ended = new Promise<Awaited<WorkerProcess['ended']>>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  );
  const worker: WorkerProcess = {
    told,
    tells: (wanted) =>
      eventually(
        () => {
          const found = told.find((message) =>
            Object.entries(wanted).every(([name, value]) => message[name as keyof WorkerMessage] === value),
          );
          if (found === undefined) throw new Error(`of ${told.length} messages none is it`);
          return found;
        },
        { timeoutMs: 10_000, description: JSON.stringify(wanted) },
      ),
    begun: (step) =>
      told.filter((message) => message.kind === 'begun' && message.step === step).map(({ runId }) => runId!),
    finishSteps: () => child.send({ kind: 'finish' }),
    signal: (signal) => void child.kill(signal),
    ended,
  };
  await worker.tells({ kind: 'ready' });
  return worker;
}
