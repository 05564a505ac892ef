/**
 * The replica's views of the breakers, kept fresh by the bucket's changes. Two collections: views of the breakers that
 * calls were reported for lately (bounded; one that was dropped is read again), and the breakers that are not closed,
 * which are counted for the gauge.
 */
import { messageOf } from '@ironflow/errors';
import type { Bucket, Connection } from '@ironflow/jetstream';
import { circuitStateSchema } from '@ironflow/schema';
import type { CircuitState } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import { nothingUnsaved } from './circuit-view.js';
import type { CircuitView } from './circuit-view.js';

export interface StoredCircuit {
  state: CircuitState | undefined;
  /** Absent if the key is not there. */
  revision: number | undefined;
}

export interface CircuitViews {
  start(): Promise<void>;
  stop(): void;
  /** `undefined` if this breaker has not been read yet. */
  get(key: string): CircuitView | undefined;
  set(key: string, view: CircuitView): void;
  /** Reads the truth from the bucket. */
  read(key: string): Promise<StoredCircuit>;
  /** Breakers that are not closed, by state. */
  count(state: 'open' | 'half_open'): number;
  /** Those that operators hold open. */
  forced(): ReadonlyMap<string, CircuitState>;
}

export interface CircuitViewsOptions {
  bucket: Bucket;
  connection: Pick<Connection, 'onReconnect'>;
  logger: Logger;
  clock: Clock;
  viewsMax?: number;
}

/** Some 10 MB; above, those not used for the longest time are read again when they are. */
const defaultViewsMax = 20_000;
/** A flood of open breakers is an outage of everything: counting stops here. */
const troubledMax = 100_000;
/** Breakers that expired, or were lost with all of NATS, are told by nobody. */
const recheckIntervalMs = 30_000;
const readsAtOnceMax = 32;

export function createCircuitViews(options: CircuitViewsOptions): CircuitViews {
  const { bucket, logger, clock, viewsMax = defaultViewsMax } = options;
  const views = new Map<string, CircuitView>();
  const troubled = createTroubled();
  const changed = new Set<string>();
  const undo: (() => void)[] = [];
  let reads = 0;
  let recheckTimer: TimerHandle | undefined;
  let stopped = false;

  const set = (key: string, view: CircuitView): void => {
    // A map keeps the order of insertion: the first key is the one not used for the longest time.
    views.delete(key);
    views.set(key, view);
    if (views.size > viewsMax) views.delete(views.keys().next().value!);
    note(key, view.saved);
  };
  const note = (key: string, state: CircuitState | undefined): void => {
    troubled.note(key, state);
    if (troubled.size() > 0 && !stopped) recheckTimer ??= clock.setTimeout(recheck, recheckIntervalMs);
  };
  const recheck = (): void => {
    recheckTimer?.cancel();
    // Before anything is read: a read that fails must not be the last.
    recheckTimer = troubled.size() > 0 && !stopped ? clock.setTimeout(recheck, recheckIntervalMs) : undefined;
    for (const key of troubled.keys()) changed.add(key);
    readChanged();
  };
  const read = async (key: string): Promise<StoredCircuit> => {
    const entry = await bucket.get(key);
    return { state: entry === undefined ? undefined : parseState(entry.value), revision: entry?.revision };
  };
  const refresh = async (key: string): Promise<void> => {
    try {
      const { state } = await read(key);
      const view = views.get(key);
      note(key, state);
      // What was counted before it opened says nothing about the time after.
      if (view === undefined) return;
      const isClosed = state === undefined || state.state === 'closed';
      views.set(key, isClosed ? { ...view, saved: state } : emptyView(state));
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'a circuit breaker cannot be read');
      views.delete(key);
    }
  };
  const readChanged = (): void => {
    for (const key of changed) {
      if (reads >= readsAtOnceMax || stopped) return;
      changed.delete(key);
      reads += 1;
      void refresh(key).finally(() => {
        reads -= 1;
        readChanged();
      });
    }
  };

  return {
    start: async () => {
      undo.push(
        await bucket.watch((key) => {
          changed.add(key);
          readChanged();
        }),
        // What was written meanwhile was not heard, and all of it may be gone.
        options.connection.onReconnect(() => {
          views.clear();
          recheck();
        }),
      );
    },
    stop: () => {
      stopped = true;
      recheckTimer?.cancel();
      for (const step of undo) step();
    },
    get: (key) => views.get(key),
    set,
    read,
    count: troubled.count,
    forced: () => troubled.forced,
  };
}

/** The breakers that are not closed. */
function createTroubled() {
  const states = new Map<string, 'open' | 'half_open'>();
  const forced = new Map<string, CircuitState>();
  return {
    forced,
    note: (key: string, state: CircuitState | undefined): void => {
      if (state?.forced === undefined) forced.delete(key);
      else forced.set(key, state);
      if (state === undefined || state.state === 'closed') states.delete(key);
      else if (states.size < troubledMax) states.set(key, state.state);
    },
    size: () => states.size,
    keys: () => states.keys(),
    count: (state: 'open' | 'half_open'): number => {
      let count = 0;
      for (const one of states.values()) if (one === state) count += 1;
      return count;
    },
  };
}

export function emptyView(saved: CircuitState | undefined): CircuitView {
  return { saved, unsaved: nothingUnsaved };
}

/** A state that cannot be read is of a version to come or broken: counting begins anew. */
function parseState(text: string): CircuitState | undefined {
  try {
    const parsed = circuitStateSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
