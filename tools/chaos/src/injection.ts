/** Plays planned faults on the stage, each at its time, and tells when each really began and ended. */
import { setTimeout as delay } from 'node:timers/promises';
import { processTree, readAcceptedSteps } from '@ironflow/bench';
import type { StoredTimes } from '@ironflow/bench';
import { messageOf } from '@ironflow/errors';
import { eventually } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import type { PlannedFault } from './plan.js';
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
}

const startedWithinMs = 90_000;

export function createInjector(stage: Stage, say: (line: string) => void): Injector {
  const struck = new Set<Victim>();
  const injection: Injection = { faults: [], accepted: undefined, failures: [] };

  const playOne = async (fault: PlannedFault, startMs: number): Promise<void> => {
    await delay(Math.max(0, startMs + fault.atMs - performance.now()));
    const { kind } = fault;
    const startedAtMs = Date.now();
    try {
      const victim = await strike(fault);
      const endedAtMs = Date.now();
      injection.faults.push({
        name: kind.name,
        victim,
        startedAtMs,
        endedAtMs,
        recoversFrom: kind.recoversFrom,
      });
      say(`${kind.name}: ${victim}, ${((endedAtMs - startedAtMs) / 1_000).toFixed(1)} s`);
    } catch (error) {
      injection.failures.push(`${kind.name} could not be played: ${messageOf(error)}`);
    }
  };

  const strike = async ({ kind, forMs, victim: drawn }: PlannedFault): Promise<string> => {
    const { target, act } = kind;
    switch (target.part) {
      case 'service':
        return strikeProcess(
          pickOf(
            stage.services.filter(({ service }) => service === target.service),
            drawn,
          ),
          act,
          forMs,
        );
      case 'worker':
        return strikeProcess(pickOf(stage.workers, drawn), act, forMs);
      case 'endpoint':
        return strikeProcess(stage.endpoint, act, forMs);
      case 'nats':
        return strikeNats(await natsVictim(stage, drawn), act, forMs);
      case 'postgres':
        return strikePostgres(act, forMs);
      case 'network':
        return strikeNetwork(act, forMs);
    }
  };

  const strikeProcess = async (victim: Victim, act: string, forMs: number): Promise<string> => {
    // Another fault may still have it: a process is struck by one at a time.
    while (struck.has(victim)) await delay(100);
    struck.add(victim);
    try {
      const { pid } = victim;
      if (act === 'pause') {
        await pausing([pid], forMs);
      } else {
        await (act === 'kill' ? victim.kill() : victim.stop());
        await delay(forMs);
        await startAgain(victim);
      }
      return `${victim.name} (${pid})`;
    } finally {
      struck.delete(victim);
    }
  };

  const strikeNats = async (server: NatsServer, act: string, forMs: number): Promise<string> => {
    const { pid, serverName } = server;
    if (act === 'pause') {
      await pausing([pid], forMs);
      return `${serverName} (${pid})`;
    }
    await (act === 'restart' ? server.stop() : server.kill());
    if (act === 'wipe') {
      injection.accepted = await eventually(() => readAcceptedSteps(stage.database), {
        timeoutMs: startedWithinMs,
        intervalMs: 100,
      });
    }
    await delay(forMs);
    await server.restart({ wipe: act === 'wipe' });
    return `${serverName} (${pid})`;
  };

  const strikePostgres = async (act: string, forMs: number): Promise<string> => {
    const { postgres, database } = stage;
    const { pid } = postgres;
    if (act === 'disconnect') {
      await database.query(
        {
          name: 'chaos_disconnect',
          text: `select pg_terminate_backend(pid) from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()`,
        },
        [],
      );
    } else if (act === 'pause') {
      await pausing(await processTree(pid), forMs);
    } else {
      await postgres.kill();
      await delay(forMs);
      await postgres.restart();
    }
    return `postgres (${pid})`;
  };

  const strikeNetwork = async (act: string, forMs: number): Promise<string> => {
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
  };

  return {
    isStruck: (victim) => struck.has(victim),
    play: async (faults) => {
      const startMs = performance.now();
      await Promise.all(faults.map((fault) => playOne(fault, startMs)));
      injection.faults.sort((a, b) => a.startedAtMs - b.startedAtMs);
      return injection;
    },
  };
}

function pickOf<T>(items: readonly T[], drawn: number): T {
  return items[Math.floor(drawn * items.length)]!;
}

async function pausing(pids: number[], forMs: number): Promise<void> {
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await delay(forMs);
  for (const pid of pids) process.kill(pid, 'SIGCONT');
}

/** As what supervises it does: one that finds no server ends, and is started anew. */
async function startAgain(victim: Victim): Promise<void> {
  const start = async (): Promise<void> => {
    try {
      await victim.start();
    } catch (error) {
      // It may run and not be ready: two of them would share a port.
      await victim.kill();
      throw error;
    }
  };
  await eventually(start, {
    timeoutMs: startedWithinMs,
    intervalMs: 500,
    description: victim.name,
  });
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
