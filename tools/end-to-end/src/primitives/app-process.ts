/** Starts app.mjs, keeps what it tells, holds what a test wants held, and kills it. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { eventually, freePort } from '@ironflow/testing';
import type { Tenant } from '../platform-under-test.js';

export type Mode = 'push' | 'pull';

export interface AppProcess {
  readonly mode: Mode;
  /** From now on what is begun under this name goes on only once it is let go. */
  hold(what: string): void;
  letGo(what: string): void;
  letGoAll(): void;
  /** Waits until it was begun for a run, and is held. */
  isHolding(runId: string, what: string): Promise<void>;
  /** Waits until its signal has fired, and says why. */
  aborted(runId: string, what: string): Promise<string>;
  /** How often it was begun for a run. */
  begun(runId: string, what: string): number;
  /** Everything it said of a run. */
  said(runId: string): string[];
  /** kill -9; what was held is forgotten. */
  kill(): Promise<void>;
  /** At the same address. */
  start(): Promise<void>;
}

/** What is asked of the platform belongs to no run that the app could name. */
export const platformCalls = 'platform';

type Told =
  | { kind: 'ready' }
  | { kind: 'begun'; number: number; runId: string; what: string }
  | { kind: 'said'; runId: string; saying: string }
  | { kind: 'aborted'; runId: string; what: string; reason: string };

const toldWithin = { timeoutMs: 10_000 };

export async function createAppProcess(
  tenant: Tenant,
  { mode, group }: { mode: Mode; group: string },
): Promise<AppProcess> {
  const env = {
    PATH: process.env['PATH'],
    IRONFLOW_URL: tenant.ironflowUrl,
    IRONFLOW_API_KEY: tenant.apiKey,
    IRONFLOW_SIGNING_KEY: tenant.signingKey,
    GROUP: group,
    MODE: mode,
    PORT: String(await freePort()),
  };
  const told: Told[] = [];
  const holds = new Set<string>();
  let held: { number: number; runId: string; what: string }[] = [];
  let child: ChildProcess | undefined;

  const goOn = (number: number): void => void child?.send({ goOn: number });
  const hear = (message: Told): void => {
    told.push(message);
    if (message.kind !== 'begun') return;
    if (holds.has(message.what)) held.push(message);
    else goOn(message.number);
  };
  const letGo = (what: string): void => {
    holds.delete(what);
    for (const { number } of held.filter((one) => one.what === what)) goOn(number);
    held = held.filter((one) => one.what !== what);
  };
  return {
    mode,
    hold: (what) => void holds.add(what),
    letGo,
    letGoAll: () => [...holds].forEach(letGo),
    isHolding: (runId, what) =>
      eventually(
        () => {
          if (held.some((one) => one.runId === runId && one.what === what)) return;
          throw new Error(`held are ${JSON.stringify(held)}`);
        },
        { ...toldWithin, description: `${what} to be held` },
      ),
    aborted: (runId, what) =>
      eventually(
        () => {
          for (const one of told) {
            if (one.kind === 'aborted' && one.runId === runId && one.what === what) return one.reason;
          }
          throw new Error('its signal has not fired');
        },
        { ...toldWithin, description: `${what} to be aborted` },
      ),
    begun: (runId, what) =>
      told.filter((one) => one.kind === 'begun' && one.runId === runId && one.what === what).length,
    said: (runId) => told.flatMap((one) => (one.kind === 'said' && one.runId === runId ? [one.saying] : [])),
    kill: async () => {
      const killed = child!;
      child = undefined;
      holds.clear();
      held = [];
      killed.removeAllListeners('message');
      const exited =
        killed.exitCode === null && killed.signalCode === null ? once(killed, 'exit') : undefined;
      killed.kill('SIGKILL');
      await exited;
    },
    start: async () => {
      const started = fork(fileURLToPath(new URL('./app.mjs', import.meta.url)), {
        env,
        execArgv: [],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      });
      child = started;
      const ready = new Promise<void>((resolve, reject) => {
        started.on('message', (message) => {
          if ((message as Told).kind === 'ready') resolve();
          else hear(message as Told);
        });
        started.once('exit', () => reject(new Error('the app ended while it was starting')));
      });
      await ready;
    },
  };
}
