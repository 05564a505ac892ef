/**
 * One seed: some functions, some events, everything that goes wrong for a while, and what has come of it once nothing does any
 * more. The same seed takes the same way, so a trace of one that failed can be had by running it again.
 */
import { isTerminal } from '@ironflow/schema';
import { Fleet } from './accidents.js';
import { createFaults } from './faults.js';
import { NatsModel } from './nats-model.js';
import { Oracle, shortly } from './oracle.js';
import { PostgresModel } from './postgres-model.js';
import type { World } from './process.js';
import { createRandom } from './random.js';
import { functionsAt, isEnded, runOf, Tenants } from './tenants.js';
import { VirtualTime } from './virtual-time.js';
import { expectedOutput } from './workflows.js';

export interface SimulationOptions {
  seed: number;
  /** Default true. */
  isFaulty?: boolean;
  /** Keeps what happened, line by line. */
  isTraced?: boolean;
}

export interface SimulationResult {
  seed: number;
  violations: string[];
  trace: string[];
  /** How long it took by its own clock. */
  virtualMs: number;
  runs: number;
}

const faultyMs = 25_000;
/** Sweeps, timeouts and retries are over long before. */
const patienceMs = 900_000;
const eventsMax = 200_000;

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { seed, isFaulty = true, isTraced = false } = options;
  const random = createRandom(seed);
  const time = new VirtualTime();
  const beganAtMs = time.nowMs;
  const trace: string[] = [];
  const note = (line: string): void => {
    if (isTraced) trace.push(`${((time.nowMs - beganAtMs) / 1_000).toFixed(4).padStart(9)}  ${line}`);
  };
  const uninstall = time.install(() => random.next());
  try {
    const world: World = { time, random, faults: createFaults(random, isFaulty), note };
    const oracle = new Oracle({ nowMs: () => time.nowMs, note });
    const postgres = new PostgresModel(() => time.nowMs, oracle);
    oracle.postgres = postgres;
    const nats = new NatsModel(world, oracle, { expectationsFirst: random.chance(0.5) });
    const tenants = new Tenants({ world, oracle, seed, nats: () => nats, postgres });
    const fleet = new Fleet({
      world,
      nats,
      postgres,
      registry: () => tenants.registry(),
      code: tenants.code,
    });
    tenants.start();
    const hasFailed = (): boolean => {
      oracle.checkFinal();
      if (time.happened === eventsMax)
        oracle.violate('I10', `does not come to rest within ${eventsMax} events`);
      return oracle.violations.length > 0;
    };
    await time.run(hasFailed, isFaulty ? faultyMs : 0);
    world.faults.end();
    fleet.heal();
    note('nothing goes wrong any more');
    const isOver = (): boolean =>
      hasFailed() ||
      (tenants.pending === 0 &&
        postgres.unrouted.size === 0 &&
        postgres.awaitedEvents.size === 0 &&
        nats.stream('STEPS').messages.size === 0 &&
        isEnded(postgres));
    await time.run(isOver, patienceMs);
    if (oracle.violations.length === 0) checkEnd({ oracle, postgres, nats, tenants });
    const virtualMs = time.nowMs - beganAtMs;
    return { seed, violations: oracle.violations, trace, virtualMs, runs: postgres.runs.size };
  } finally {
    uninstall();
  }
}

interface Ended {
  oracle: Oracle;
  postgres: PostgresModel;
  nats: NatsModel;
  tenants: Tenants;
}

/** Each event has its dispositions, and each run has come to what it would have come to if nothing had gone wrong. */
function checkEnd({ oracle, postgres, nats, tenants }: Ended): void {
  for (const id of postgres.unrouted) oracle.violate('I1', `the event ${id} was never routed`);
  for (const order of tenants.orders) {
    const functionIds = functionsAt(oracle.routed.get(order.id) ?? 1);
    for (const functionId of functionIds) {
      if (!postgres.runs.has(runOf(order, functionId))) oracle.violate('I2', `no run of ${functionId}`);
    }
    const runs = [...postgres.runs.values()].filter(({ event }) => event.id === order.id);
    if (runs.length !== functionIds.length)
      oracle.violate('I2', `${runs.length} runs of ${functionIds.join()}`);
  }
  for (const run of postgres.runs.values()) {
    const name = `${run.functionId} (${shortly(run.id)})`;
    const program = tenants.programs.get(run.functionId);
    if (!isTerminal(run.status)) {
      oracle.violate('I7', `${name} is ${run.status} for ever (wake ${run.wake}, served ${run.served})`);
    } else if (run.status === 'completed' && program !== undefined) {
      const expected = JSON.stringify(expectedOutput(program));
      if (run.output !== expected)
        oracle.violate('result', `${name} returned ${run.output}, not ${expected}`);
    } else if (run.status === 'failed' || (run.status === 'cancelled' && !tenants.stopped.has(run.id))) {
      oracle.violate('result', `${name} is ${run.status}: ${run.error?.name}: ${run.error?.message}`);
    }
  }
  const left = {
    timers: postgres.timers.size,
    waits: postgres.waits.size,
    activations: nats.stream('STEPS').messages.size,
  };
  for (const [what, count] of Object.entries(left))
    if (count > 0) oracle.violate('I7', `${count} ${what} are left`);
}
