/** Everything that is done to the platform: one table. What it means for a process or a server is in injection.ts. */
import type { ServiceName } from '@ironflow/platform';

const serviceNames = [
  'ingest',
  'scheduler',
  'executor',
  'result-collector',
  'cron',
  'circuit-breaker',
  'api',
] as const satisfies readonly ServiceName[];

export type FaultTarget =
  | { part: 'service'; service: ServiceName }
  | { part: 'worker' }
  | { part: 'endpoint' }
  | { part: 'nats' }
  | { part: 'postgres' }
  | { part: 'network' };

export type FaultAct =
  /** SIGKILL, and started again after its time. */
  | 'kill'
  /** SIGSTOP, and SIGCONT after its time. */
  | 'pause'
  /** SIGTERM, and started again when it has ended. */
  | 'restart'
  /** Stopped, its data removed, started. */
  | 'wipe'
  /** Every connection to Postgres is ended by it. */
  | 'disconnect'
  /** Every connection through the proxy is cut. */
  | 'cut'
  /** Nothing passes the proxy for its time; nothing is lost. */
  | 'freeze'
  /** Acknowledgements are dropped and messages sent twice, now and then. */
  | 'lossy';

export interface FaultKind {
  name: string;
  target: FaultTarget;
  act: FaultAct;
  /** How long it lasts: drawn evenly between. */
  msMin: number;
  msMax: number;
  /**
   * What recovery is measured from. A process that is killed has a replica that goes on: from the moment it is killed. Where
   * nothing can go on meanwhile: from the end.
   */
  recoversFrom: 'start' | 'end';
  /** Played at most once. */
  once?: true;
  /** Where it can be played; by default everywhere. */
  only?: 'single' | 'cluster';
}

/** Beyond the 5 s after which what a process was given goes to another. */
const pauseMsMax = 9_000;

const ofServices: FaultKind[] = serviceNames.flatMap((service) => {
  const target = { part: 'service', service } as const;
  return [
    { name: `kill-${service}`, target, act: 'kill', msMin: 200, msMax: 3_000, recoversFrom: 'start' },
    {
      name: `pause-${service}`,
      target,
      act: 'pause',
      msMin: 1_000,
      msMax: pauseMsMax,
      recoversFrom: 'start',
    },
    { name: `restart-${service}`, target, act: 'restart', msMin: 0, msMax: 0, recoversFrom: 'start' },
  ] satisfies FaultKind[];
});

const worker = { part: 'worker' } as const;
const endpoint = { part: 'endpoint' } as const;
const nats = { part: 'nats' } as const;
const postgres = { part: 'postgres' } as const;
const network = { part: 'network' } as const;

export const faultKinds: readonly FaultKind[] = [
  ...ofServices,
  { name: 'kill-worker', target: worker, act: 'kill', msMin: 200, msMax: 3_000, recoversFrom: 'start' },
  {
    name: 'pause-worker',
    target: worker,
    act: 'pause',
    msMin: 1_000,
    msMax: pauseMsMax,
    recoversFrom: 'end',
  },
  { name: 'restart-worker', target: worker, act: 'restart', msMin: 0, msMax: 0, recoversFrom: 'start' },
  { name: 'kill-endpoint', target: endpoint, act: 'kill', msMin: 200, msMax: 3_000, recoversFrom: 'end' },
  { name: 'pause-endpoint', target: endpoint, act: 'pause', msMin: 1_000, msMax: 5_000, recoversFrom: 'end' },
  { name: 'kill-nats', target: nats, act: 'kill', msMin: 200, msMax: 4_000, recoversFrom: 'end' },
  { name: 'pause-nats', target: nats, act: 'pause', msMin: 1_000, msMax: 8_000, recoversFrom: 'end' },
  { name: 'restart-nats', target: nats, act: 'restart', msMin: 0, msMax: 0, recoversFrom: 'end' },
  {
    name: 'wipe-nats',
    target: nats,
    act: 'wipe',
    msMin: 200,
    msMax: 2_000,
    recoversFrom: 'end',
    once: true,
    only: 'single',
  },
  { name: 'kill-postgres', target: postgres, act: 'kill', msMin: 200, msMax: 4_000, recoversFrom: 'end' },
  { name: 'pause-postgres', target: postgres, act: 'pause', msMin: 1_000, msMax: 6_000, recoversFrom: 'end' },
  {
    name: 'disconnect-postgres',
    target: postgres,
    act: 'disconnect',
    msMin: 0,
    msMax: 0,
    recoversFrom: 'end',
  },
  { name: 'cut-network', target: network, act: 'cut', msMin: 0, msMax: 0, recoversFrom: 'end' },
  { name: 'freeze-network', target: network, act: 'freeze', msMin: 1_000, msMax: 6_000, recoversFrom: 'end' },
  { name: 'lossy-network', target: network, act: 'lossy', msMin: 4_000, msMax: 10_000, recoversFrom: 'end' },
];

export const faultNames = faultKinds.map(({ name }) => name);
