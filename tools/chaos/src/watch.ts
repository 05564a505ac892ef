/**
 * What is seen of the platform while it runs: processes that end without having been struck, and ends of
 * runs and changes of breakers as they are told.
 */
import { circuitNoticeSchema, subjectFilters, isTerminal } from '@ironflow/schema';
import type { BreakerChange, EndHeard } from './facts.js';
import type { Injector } from './injection.js';
import { startAgain } from './stage.js';
import type { Stage, Victim } from './stage.js';

export interface Watch {
  readonly deaths: string[];
  readonly endsHeard: EndHeard[];
  readonly breakerChanges: BreakerChange[];
  stop(): void;
}

const lookEveryMs = 250;

export function watchStage(stage: Stage, injector: Injector, say: (line: string) => void): Watch {
  const deaths: string[] = [];
  const endsHeard: EndHeard[] = [];
  const breakerChanges: BreakerChange[] = [];
  const restarting = new Set<Victim>();
  const all: Victim[] = [...stage.services, ...stage.workers, stage.endpoint];
  const look = setInterval(() => {
    for (const victim of all) {
      if (injector.isStruck(victim) || restarting.has(victim) || isAlive(victim.pid)) continue;
      deaths.push(victim.name);
      say(`${victim.name} has ended by itself`);
      restarting.add(victim);
      // Why it ended is in its log.
      victim
        .kill()
        .then(() => startAgain(victim))
        .catch(() => undefined)
        .finally(() => restarting.delete(victim));
    }
  }, lookEveryMs);
  const stopListening = stage.jetstream.notices.onRun(subjectFilters.everyRunNotice, ({ runId, status }) => {
    if (isTerminal(status)) endsHeard.push({ runId, status });
  });
  const changes = stage.jetstream.connection.nats.subscribe('public.*.*.system.breaker.>', {
    callback: (_error, message) => {
      breakerChanges.push(circuitNoticeSchema.parse(message.json()));
    },
  });
  return {
    deaths,
    endsHeard,
    breakerChanges,
    stop: () => {
      changes.unsubscribe();
      clearInterval(look);
      stopListening();
    },
  };
}

/** One that could not be started again has none: to the system 0 means this program. */
function isAlive(pid: number): boolean {
  if (pid === 0) return false;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
