/** What is done to a running platform: each scenario strikes when enough runs are mid-way. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Database } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import type { Platform, ServiceName } from '@ironflow/platform';
import type { StreamName } from '@ironflow/schema';
import { breakerScenario } from './breaker-scenario.js';
import type { Child } from './children.js';
import { checkIdleWithoutWorker, countDeliveries } from './fault-checks.js';
import { readAcceptedSteps } from './journal-times.js';
import type { StoredTimes } from './ledger.js';
import { pressureScenarios } from './pressure.js';
import { recoveryScenarios } from './recovery-scenarios.js';

export interface Scene {
  platform: Platform;
  database: Database;
  jetstream: JetStream;
  ledgerFile: string;
  worker: () => Child;
  restartWorker: () => Promise<void>;
  /** The workers and the push endpoint. */
  apps: () => Child[];
  restartApps: () => Promise<void>;
  /** How long a fault lasts: as asked for, else so many seconds. */
  holdSeconds: (usual: number) => number;
  /** How long the scenario without a worker has none. */
  workerlessSeconds: number;
}

export interface Injection {
  /** What was done. */
  fault: string;
  /**
   * Where the journal was lost: what Postgres had. Steps that only the journal had, or that were appended to the new one after
   * what was lost, may run again and count as repeats.
   */
  accepted?: StoredTimes;
  /** What was wrong meanwhile. */
  failures?: string[];
  /** When it was killed, where recovery is measured; by this machine's clock, as the ledger. */
  struckAtMs?: number;
}

export interface Scenario {
  name: string;
  replicas: number;
  /** Where a service has another number of them. */
  replicasOf?: Partial<Record<ServiceName, number>>;
  /** 1 if absent. */
  workers?: number;
  /** For the services. */
  env?: NodeJS.ProcessEnv;
  /** Sizes of streams that differ from the shipped ones. */
  streams?: Partial<Record<StreamName, { maxBytes: number }>>;
  /** Within what the steps under way begin again; they take seconds in such a scenario. */
  recovery?: { withinMs: number; of: readonly ('pull' | 'push')[] };
  /** Clients may be refused, but only with 503 and a Retry-After. */
  isPressure?: boolean;
  cron?: boolean;
  /** Events go on to be emitted while the fault lasts. */
  emitsMeanwhile?: boolean;
  inject(scene: Scene): Promise<Injection>;
}

export const scenarios: Scenario[] = [
  killed('executor'),
  killed('scheduler'),
  killed('result-collector'),
  { ...killed('ingest'), emitsMeanwhile: true },
  {
    name: 'worker',
    replicas: 1,
    inject: async ({ worker, restartWorker }) => {
      const { pid } = worker();
      await worker().end('SIGKILL');
      await restartWorker();
      return { fault: `kill -9 ${pid}, another started` };
    },
  },
  {
    name: 'two-of-each',
    replicas: 2,
    cron: true,
    inject: async ({ platform }) => {
      const member = platform.fleet!.of('executor')[0]!;
      await member.kill();
      await member.start();
      return { fault: 'kill -9 of one executor of two' };
    },
  },
  {
    name: 'no-worker',
    replicas: 2,
    inject: async (scene) => {
      await scene.worker().end('SIGKILL');
      // Until the executors have let go of the worker, and the scheduler knows that there is none.
      const settleMs = Math.min(10_000, scene.workerlessSeconds * 500);
      await pause(settleMs);
      const deliveriesBefore = await countDeliveries(scene.jetstream);
      await pause(scene.workerlessSeconds * 1_000 - settleMs);
      const failures = await checkIdleWithoutWorker({ ...scene, deliveriesBefore });
      await scene.restartWorker();
      return { fault: `no worker for ${scene.workerlessSeconds} s`, failures };
    },
  },
  {
    name: 'nats-wiped',
    replicas: 1,
    inject: async ({ platform, database }) => {
      await platform.servers.nats!.kill();
      const accepted = await readAcceptedSteps(database);
      await platform.servers.nats!.restart({ wipe: true });
      return { fault: 'nats-server kill -9, its directory removed, an empty one started', accepted };
    },
  },
  ...recoveryScenarios,
  ...pressureScenarios,
  breakerScenario,
];

function killed(service: ServiceName): Scenario {
  return {
    name: service,
    replicas: 1,
    inject: async ({ platform }) => {
      const member = platform.fleet!.of(service)[0]!;
      const { pid } = member;
      await member.kill();
      await pause(1_000);
      await member.start();
      return { fault: `kill -9 ${pid}, started again after 1 s` };
    },
  };
}
