/** Plays planned faults on the stage, each at its time, and tells when each really began and ended. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { readAcceptedSteps } from '@ironflow/bench';
import type { StoredTimes } from '@ironflow/bench';
import { messageOf } from '@ironflow/errors';
import { eventually } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import type { FaultAct } from './fault-kinds.js';
import type { PlannedFault } from './plan.js';
import { startAgain } from './stage.js';
import type { Stage, Victim } from './stage.js';

export interface InjectedFault {
  name: string;
  victim: string;
  startedAtMs: number;
  endedAtMs: number;
  recoversFrom: 'start' | 'end';
}

export interface Injection {
  faults: InjectedFault[];
  /** Where NATS was wiped: what Postgres had. */
  accepted: StoredTimes | undefined;
  /** Faults that could not be played, and why. */
  failures: string[];
}

export interface Injector {
  play(faults: readonly PlannedFault[]): Promise<Injection>;
  /** Whether a process is down because of a fault. */
  isStruck(victim: Victim): boolean;
  /** What is paused goes on: it could not end otherwise. */
  stop(): void;
}

interface Scene {
  stage: Stage;
  struck: Set<Victim>;
  paused: Set<number>;
  isNatsStruck: boolean;
  injection: Injection;
}

const acceptedWithinMs = 90_000;
const caughtUpWithinMs = 60_000;

export function createInjector(stage: Stage, say: (line: string) => void): Injector {
  const injection: Injection = { faults: [], accepted: undefined, failures: [] };
  const scene: Scene = { stage, struck: new Set(), paused: new Set(), isNatsStruck: false, injection };
  const playOne = async (fault: PlannedFault, startMs: number): Promise<void> => {
    await delay(Math.max(0, startMs + fault.atMs - performance.now()));
    const { name, recoversFrom } = fault.kind;
    const startedAtMs = Date.now();
    try {
      const victim = await strike(scene, fault);
      const endedAtMs = Date.now();
      injection.faults.push({ name, victim, startedAtMs, endedAtMs, recoversFrom });
      say(`${name}: ${victim}, ${((endedAtMs - startedAtMs) / 1_000).toFixed(1)} s`);
    } catch (error) {
      injection.failures.push(`${name} could not be played: ${messageOf(error)}`);
    }
  };
  return {
    isStruck: (victim) => scene.struck.has(victim),
    stop: () => signalAll(scene.paused, 'SIGCONT'),
    play: async (faults) => {
      const startMs = performance.now();
      await Promise.all(faults.map((fault) => playOne(fault, startMs)));
      injection.faults.sort((a, b) => a.startedAtMs - b.startedAtMs);
      return injection;
    },
  };
}

/** Answers with whom it struck, when it is over. */
async function strike(scene: Scene, { kind, forMs, victim: drawn }: PlannedFault): Promise<string> {
  const { target, act } = kind;
  const { services, workers, endpoint } = scene.stage;
  switch (target.part) {
    case 'service': {
      const replicas = services.filter(({ service }) => service === target.service);
      return strikeProcess(scene, pickOf(replicas, drawn), { act, forMs });
    }
    case 'worker':
      return strikeProcess(scene, pickOf(workers, drawn), { act, forMs });
    case 'endpoint':
      return strikeProcess(scene, endpoint, { act, forMs });
    case 'nats':
      return oneNodeAtATime(scene, async () =>
        strikeNats(scene, await natsVictim(scene.stage, drawn), { act, forMs }),
      );
    case 'postgres':
      return strikePostgres(scene, { act, forMs });
    case 'network':
      return strikeNetwork(scene, { act, forMs });
  }
}

interface Blow {
  act: FaultAct;
  forMs: number;
}

async function strikeProcess(scene: Scene, victim: Victim, { act, forMs }: Blow): Promise<string> {
  const { struck } = scene;
  // Another fault may still have it: a process is struck by one at a time.
  while (struck.has(victim)) await delay(100);
  struck.add(victim);
  try {
    const { pid } = victim;
    if (act === 'pause') {
      await pausing(scene, [pid], forMs);
    } else {
      await (act === 'kill' ? victim.kill() : victim.stop());
      await delay(forMs);
      await startAgain(victim);
    }
    return `${victim.name} (${pid})`;
  } finally {
    struck.delete(victim);
  }
}

async function strikeNats(scene: Scene, server: NatsServer, { act, forMs }: Blow): Promise<string> {
  const { stage, injection } = scene;
  const { pid, serverName } = server;
  if (act === 'pause') {
    await pausing(scene, [pid], forMs);
    return `${serverName} (${pid})`;
  }
  await (act === 'restart' ? server.stop() : server.kill());
  if (act === 'wipe') {
    // Another fault may hold up Postgres.
    injection.accepted = await eventually(() => readAcceptedSteps(stage.database), {
      timeoutMs: acceptedWithinMs,
      intervalMs: 100,
    });
  }
  await delay(forMs);
  await server.restart({ wipe: act === 'wipe' });
  return `${serverName} (${pid})`;
}

/** A node is back when it has caught up: a cluster of three bears the loss of one. */
async function oneNodeAtATime(scene: Scene, blow: () => Promise<string>): Promise<string> {
  while (scene.isNatsStruck) await delay(100);
  scene.isNatsStruck = true;
  try {
    const victim = await blow();
    const { natsServers } = scene.stage;
    if (natsServers.length > 1) await Promise.all(natsServers.map(caughtUp));
    return victim;
  } finally {
    scene.isNatsStruck = false;
  }
}

function caughtUp({ monitorUrl, serverName }: NatsServer): Promise<void> {
  return eventually(
    async () => {
      const answer = await fetch(`${monitorUrl}/healthz`);
      if (!answer.ok) throw new Error(await answer.text());
    },
    { timeoutMs: caughtUpWithinMs, intervalMs: 100, description: `${serverName} to catch up` },
  );
}

async function strikePostgres(scene: Scene, { act, forMs }: Blow): Promise<string> {
  const { postgres, database } = scene.stage;
  const { pid } = postgres;
  if (act === 'disconnect') {
    const text = `select pg_terminate_backend(pid) from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid()`;
    // Another fault may hold it up.
    await eventually(() => database.query({ name: 'chaos_disconnect', text }, []), {
      timeoutMs: acceptedWithinMs,
      intervalMs: 100,
    });
  } else if (act === 'pause') {
    await pausing(scene, [pid, ...childrenOf(pid)], forMs);
  } else {
    await postgres.kill();
    await delay(forMs);
    await postgres.restart();
  }
  return `postgres (${pid})`;
}

async function strikeNetwork({ stage }: Scene, { act, forMs }: Blow): Promise<string> {
  const { proxies } = stage;
  if (act === 'cut') {
    for (const proxy of proxies) proxy.cut();
  } else if (act === 'freeze') {
    for (const proxy of proxies) proxy.freeze();
    await delay(forMs);
    for (const proxy of proxies) proxy.thaw();
  } else {
    for (const proxy of proxies) proxy.setLossy(true);
    await delay(forMs);
    for (const proxy of proxies) proxy.setLossy(false);
  }
  return 'proxy';
}

function pickOf<T>(items: readonly T[], drawn: number): T {
  return items[Math.floor(drawn * items.length)]!;
}

async function pausing({ paused }: Scene, pids: number[], forMs: number): Promise<void> {
  for (const pid of pids) paused.add(pid);
  signalAll(pids, 'SIGSTOP');
  await delay(forMs);
  signalAll(pids, 'SIGCONT');
  for (const pid of pids) paused.delete(pid);
}

/** Postgres' connections are processes. One that another fault has just killed has none. */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function signalAll(pids: Iterable<number>, signal: NodeJS.Signals): void {
  for (const pid of pids) {
    // One that is about to be started has none; to the system 0 means this program, and all that it has started.
    if (pid === 0) continue;
    try {
      process.kill(pid, signal);
    } catch {
      // A process of Postgres' that has ended since they were counted.
    }
  }
}

/** In a cluster the leader of RESULTS rather than another. */
async function natsVictim({ natsServers, jetstream }: Stage, drawn: number): Promise<NatsServer> {
  if (natsServers.length > 1 && drawn < 0.7) {
    const reply = await jetstream.connection.request({ subject: '$JS.API.STREAM.INFO.RESULTS', data: '' });
    if (reply.kind === 'message') {
      const { cluster } = JSON.parse(Buffer.from(reply.data).toString('utf8')) as {
        cluster?: { leader?: string };
      };
      const leader = natsServers.find(({ serverName }) => serverName === cluster?.leader);
      if (leader !== undefined) return leader;
    }
  }
  return pickOf(natsServers, drawn);
}
