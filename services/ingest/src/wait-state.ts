/**
 * What is known of the runs that one request waits for. Pure: notices and rows come in, in any order and repeatedly, and
 * the answer comes out.
 * 1. An event is settled when its runs are known and each of them has ended: never by silence.
 * 2. What has ended stays as it was first told (a terminal state is final).
 * 3. An end may be told before the run it belongs to is known.
 */
import { isTerminal } from '@ironflow/schema';
import type { Failure, RunStatus } from '@ironflow/schema';

/** A run as the answer shows it; `output` is JSON text. */
export interface AwaitedRun {
  id: string;
  functionId: string;
  status: RunStatus;
  skipReason?: string;
  /** Of a skipped run: the one that its event joined, or that goes on in its place. */
  joinedRunId?: string;
  output?: string;
  error?: Failure;
}

export interface WaitState {
  routed(eventId: string, runs: readonly AwaitedRun[]): void;
  ended(eventId: string, run: AwaitedRun): void;
  isSettled(): boolean;
  /** Whether every event's runs are known, ended or not. */
  isRouted(): boolean;
  isEventSettled(eventId: string): boolean;
  /** In the order of the events. */
  runs(): AwaitedRun[];
}

interface AwaitedEvent {
  /** In the order in which they were told; `undefined` until the event is known to be routed. */
  runIds: string[] | undefined;
  known: Map<string, AwaitedRun>;
  settled: boolean;
}

export function createWaitState(eventIds: readonly string[]): WaitState {
  const events = new Map<string, AwaitedEvent>();
  for (const id of eventIds) events.set(id, { runIds: undefined, known: new Map(), settled: false });
  let open = events.size;

  function settleIfDone(event: AwaitedEvent): void {
    if (event.settled || event.runIds === undefined) return;
    if (!event.runIds.every((id) => isTerminal(event.known.get(id)!.status))) return;
    event.settled = true;
    open -= 1;
  }

  function learn(event: AwaitedEvent, run: AwaitedRun): void {
    const before = event.known.get(run.id);
    if (before === undefined || !isTerminal(before.status)) event.known.set(run.id, run);
  }

  return {
    routed(eventId, runs) {
      const event = events.get(eventId);
      if (event === undefined || event.settled) return;
      for (const run of runs) learn(event, run);
      event.runIds ??= runs.map(({ id }) => id);
      settleIfDone(event);
    },
    ended(eventId, run) {
      const event = events.get(eventId);
      if (event === undefined || event.settled) return;
      learn(event, run);
      settleIfDone(event);
    },
    isSettled: () => open === 0,
    isRouted: () => [...events.values()].every(({ runIds }) => runIds !== undefined),
    isEventSettled: (eventId) => events.get(eventId)?.settled !== false,
    runs: () =>
      [...events.values()].flatMap(({ runIds, known }) =>
        runIds === undefined ? [...known.values()] : runIds.map((id) => known.get(id)!),
      ),
  };
}
