/**
 * What becomes of runs when they arrive, decided: skipped, joined to another, held for later, or sent to the queue. Pure; one
 * environment at a time, the runs in the order in which their events came.
 *
 * A1 The rules apply in this order: idempotency, rate limit, debounce, batch, singleton. A run that one of them skips concerns none
 *    after it.
 * A2 What time decides is the time of the event, so that a late pass decides as one in time would have.
 * A3 A debounce or a batch that is over its time goes on before an event that came after it.
 * A4 A run that has begun before goes straight to the queue.
 */
import { askRate, limits } from '@ironflow/schema';
import type { FlowEntry, FlowHolder, FlowState, FlowStateKey } from '@ironflow/database';
import type { FlowControl, FlowRule } from '@ironflow/schema';
import { keyHash, singletonModeOf } from './flow-keys.js';
import type { overlapSkipReason } from './schedule-overlap.js';

export interface ArrivalsInput {
  nowMs: number;
  /** Those that arrived, and held ones whose time has come. */
  entries: readonly FlowEntry[];
  /** By function; one that is not registered any more has none. */
  configs: ReadonlyMap<string, FlowControl>;
  states: readonly FlowState[];
  /** Of the runs that the states name: those that live. */
  holders: ReadonlyMap<string, FlowHolder>;
}

/** The rule that skipped it. */
export type SkipReason = FlowRule | typeof overlapSkipReason;

export interface SkippedEntry {
  runId: string;
  reason: SkipReason;
  joinedRunId: string | undefined;
}

export interface ArrivalsDecision {
  skipped: SkippedEntry[];
  held: { runId: string; dueAtMs: number }[];
  queued: FlowEntry[];
  /** Changed or new. */
  states: FlowState[];
  removed: FlowStateKey[];
  /** Of batches. */
  events: { runId: string; place: number; eventId: string }[];
  /** Runs under way that are to make room. */
  stops: string[];
}

const idempotencyMs = 86_400_000;
/** Looked at again after it: what a run holds lives as long as the run. */
const heldStateMs = 3_600_000;

export function decideArrivals(input: ArrivalsInput): ArrivalsDecision {
  const book = new ArrivalsBook(input);
  for (const entry of [...input.entries].sort(byArrival)) book.decide(entry);
  book.releaseDue();
  return book.decision();
}

/** Events of one request have ids in their order. */
function byArrival(a: FlowEntry, b: FlowEntry): number {
  return a.receivedAtMs - b.receivedAtMs || (a.eventId < b.eventId ? -1 : 1);
}

class ArrivalsBook {
  readonly #input: ArrivalsInput;
  readonly #states: Map<string, FlowState>;
  readonly #changed = new Set<string>();
  readonly #removed = new Map<string, FlowStateKey>();
  readonly #entries = new Map<string, FlowEntry>();
  readonly #skipped = new Map<string, SkippedEntry>();
  readonly #held = new Map<string, number>();
  readonly #newlyHeld = new Set<string>();
  readonly #queued = new Map<string, FlowEntry>();
  readonly #events: ArrivalsDecision['events'] = [];
  readonly #stops = new Set<string>();

  constructor(input: ArrivalsInput) {
    this.#input = input;
    this.#states = new Map(input.states.map((state) => [nameOf(state), state]));
    for (const entry of input.entries) this.#entries.set(entry.runId, entry);
  }

  decide(entry: FlowEntry): void {
    if (entry.resumed) return void this.#queued.set(entry.runId, entry);
    // Released already, by an event that came after its time.
    if (this.#queued.has(entry.runId) || this.#skipped.has(entry.runId)) return;
    if (entry.state === 'held') return void this.#held.set(entry.runId, entry.dueAtMs ?? 0);
    const config = this.#input.configs.get(entry.functionId) ?? {};
    if (this.#isRepeated(entry, config) || this.#isTooMany(entry, config)) return;
    if (config.debounce !== undefined && entry.keys.debounce !== undefined) {
      this.#debounce(entry, entry.keys.debounce, { ...config, debounce: config.debounce });
    } else if (config.batch !== undefined && entry.keys.batch !== undefined) {
      this.#batch(entry, entry.keys.batch, config.batch);
    } else this.#queue(entry, config);
  }

  /** Those whose time has come go on; what they held is free. */
  releaseDue(): void {
    for (const [runId, dueAtMs] of this.#held) if (dueAtMs <= this.#input.nowMs) this.#release(runId);
  }

  decision(): ArrivalsDecision {
    return {
      skipped: [...this.#skipped.values()],
      held: [...this.#held]
        .filter(([runId]) => this.#newlyHeld.has(runId))
        .map(([runId, dueAtMs]) => ({ runId, dueAtMs })),
      queued: [...this.#queued.values()],
      states: [...this.#changed].map((name) => this.#states.get(name)!),
      removed: [...this.#removed.values()],
      events: this.#events,
      stops: [...this.#stops],
    };
  }

  #isRepeated(entry: FlowEntry, config: FlowControl): boolean {
    const key = entry.keys.idempotency;
    if (config.idempotency === undefined || key === undefined) return false;
    const of = stateKey(entry, 'idempotency', key);
    const known = this.#states.get(nameOf(of));
    if (known !== undefined && known.expiresAtMs > entry.receivedAtMs && known.runId !== entry.runId) {
      this.#skip(entry, 'idempotency', known.runId);
      return true;
    }
    this.#put({ ...of, runId: entry.runId, expiresAtMs: entry.receivedAtMs + idempotencyMs });
    return false;
  }

  #isTooMany(entry: FlowEntry, { rateLimit }: FlowControl): boolean {
    const key = entry.keys.rateLimit;
    if (rateLimit === undefined || key === undefined) return false;
    const of = stateKey(entry, 'rate_limit', key);
    const verdict = askRate(rateLimit, this.#states.get(nameOf(of))?.nextAtMs, entry.receivedAtMs);
    if (verdict.kind === 'out') {
      this.#skip(entry, 'rate_limit', undefined);
      return true;
    }
    this.#put({ ...of, nextAtMs: verdict.nextAtMs, expiresAtMs: verdict.nextAtMs });
    return false;
  }

  #debounce(
    entry: FlowEntry,
    key: string,
    config: FlowControl & Pick<Required<FlowControl>, 'debounce'>,
  ): void {
    const { debounce } = config;
    const of = stateKey(entry, 'debounce', key);
    const before = this.#heldBy(this.#states.get(nameOf(of)));
    if (before !== undefined && before.receivedAtMs > entry.receivedAtMs) {
      // It was routed late: either its time was over when that one came, or it gives way to it.
      if (entry.receivedAtMs + debounce.periodMs <= before.receivedAtMs) this.#queue(entry, config);
      else this.#skip(entry, 'debounce', before.runId);
      return;
    }
    let sinceMs = entry.receivedAtMs;
    if (before !== undefined && before.dueAtMs <= entry.receivedAtMs) this.#release(before.runId);
    else if (before !== undefined) {
      sinceMs = before.sinceMs;
      this.#skip({ runId: before.runId }, 'debounce', entry.runId);
    }
    const latestMs = debounce.timeoutMs === undefined ? Infinity : sinceMs + debounce.timeoutMs;
    const dueAtMs = Math.min(entry.receivedAtMs + debounce.periodMs, latestMs);
    this.#put({ ...of, runId: entry.runId, sinceMs, dueAtMs, expiresAtMs: dueAtMs + heldStateMs });
    this.#hold(entry.runId, dueAtMs);
  }

  #batch(entry: FlowEntry, key: string, batch: NonNullable<FlowControl['batch']>): void {
    const of = stateKey(entry, 'batch', key);
    const open = this.#heldBy(this.#states.get(nameOf(of)));
    const hasRoom =
      open !== undefined && open.size < batch.maxSize && open.bytes + entry.bytes <= limits.batchBytesMax;
    if (open !== undefined && (!hasRoom || open.dueAtMs <= entry.receivedAtMs)) this.#release(open.runId);
    if (open === undefined || !this.#held.has(open.runId)) {
      // It begins a batch of its own.
      const dueAtMs = entry.receivedAtMs + batch.timeoutMs;
      this.#events.push({ runId: entry.runId, place: 0, eventId: entry.eventId });
      const { runId, receivedAtMs: sinceMs, bytes } = entry;
      this.#put({ ...of, runId, sinceMs, dueAtMs, size: 1, bytes, expiresAtMs: dueAtMs + heldStateMs });
      this.#hold(entry.runId, dueAtMs);
      if (batch.maxSize === 1) this.#release(entry.runId);
      return;
    }
    this.#events.push({ runId: open.runId, place: open.size, eventId: entry.eventId });
    this.#skip(entry, 'batch', open.runId);
    const size = open.size + 1;
    this.#put({ ...this.#states.get(nameOf(of))!, size, bytes: open.bytes + entry.bytes });
    if (size >= batch.maxSize) this.#release(open.runId);
  }

  #queue(entry: FlowEntry, config: FlowControl): void {
    const mode = singletonModeOf(entry.keys, config);
    const reason = entry.keys.overlap === undefined ? 'singleton' : 'schedule_overlap';
    if (mode !== undefined && mode !== 'queue') {
      const of = stateKey(entry, 'singleton', entry.keys.singleton!);
      const before = this.#states.get(nameOf(of))?.runId;
      const holder = before === undefined || before === entry.runId ? undefined : this.#living(before);
      if (holder !== undefined && mode === 'skip') return this.#skip(entry, reason, before);
      if (holder?.hasBegun === true) this.#stops.add(before!);
      else if (holder !== undefined) this.#skip({ runId: before! }, reason, entry.runId);
      this.#put({ ...of, runId: entry.runId, expiresAtMs: this.#input.nowMs + heldStateMs });
    }
    this.#queued.set(entry.runId, entry);
  }

  #hold(runId: string, dueAtMs: number): void {
    this.#held.set(runId, dueAtMs);
    this.#newlyHeld.add(runId);
  }

  #skip({ runId }: Pick<FlowEntry, 'runId'>, reason: SkipReason, joinedRunId: string | undefined): void {
    this.#held.delete(runId);
    this.#queued.delete(runId);
    this.#skipped.set(runId, { runId, reason, joinedRunId });
  }

  /** Its time has come: its debounce or batch is over, and the rules after them are asked. */
  #release(runId: string): void {
    this.#held.delete(runId);
    const entry = this.#entryOf(runId);
    if (entry === undefined) return;
    for (const [rule, key] of [
      ['debounce', entry.keys.debounce],
      ['batch', entry.keys.batch],
    ] as const) {
      if (key === undefined) continue;
      const of = stateKey(entry, rule, key);
      if (this.#states.get(nameOf(of))?.runId === runId) this.#remove(of);
    }
    this.#queue(entry, this.#input.configs.get(entry.functionId) ?? {});
  }

  /** The state of a debounce or a batch, while its run is still held. */
  #heldBy(state: FlowState | undefined) {
    if (state?.runId === undefined) return undefined;
    const isHeld = this.#held.has(state.runId) || this.#input.holders.get(state.runId)?.state === 'held';
    if (!isHeld || this.#queued.has(state.runId) || this.#skipped.has(state.runId)) return undefined;
    const { runId, sinceMs = 0, dueAtMs = 0, size = 1, bytes = 0 } = state;
    if (!this.#held.has(runId)) this.#held.set(runId, dueAtMs);
    const receivedAtMs = this.#entryOf(runId)?.receivedAtMs ?? sinceMs;
    return { runId, receivedAtMs, sinceMs, dueAtMs, size, bytes };
  }

  #entryOf(runId: string): FlowEntry | undefined {
    return this.#entries.get(runId) ?? this.#input.holders.get(runId)?.entry;
  }

  #living(runId: string): { hasBegun: boolean } | undefined {
    if (this.#skipped.has(runId)) return undefined;
    if (this.#held.has(runId) || this.#queued.has(runId))
      return { hasBegun: this.#entries.get(runId)?.resumed === true };
    const holder = this.#input.holders.get(runId);
    return holder && { hasBegun: holder.hasBegun };
  }

  #put(state: FlowState): void {
    this.#states.set(nameOf(state), state);
    this.#changed.add(nameOf(state));
    this.#removed.delete(nameOf(state));
  }

  #remove(of: FlowStateKey): void {
    this.#states.delete(nameOf(of));
    this.#changed.delete(nameOf(of));
    this.#removed.set(nameOf(of), of);
  }
}

/** Of which states a decision about these runs may need. */
export function statesNeeded(entries: readonly FlowEntry[]): FlowStateKey[] {
  const needed = new Map<string, FlowStateKey>();
  for (const entry of entries) {
    if (entry.resumed) continue;
    const { idempotency, rateLimit, debounce, batch, singleton } = entry.keys;
    const byRule = { idempotency, rate_limit: rateLimit, debounce, batch, singleton };
    for (const [rule, key] of Object.entries(byRule)) {
      if (key === undefined) continue;
      const of = stateKey(entry, rule as FlowRule, key);
      needed.set(nameOf(of), of);
    }
  }
  return [...needed.values()];
}

export function stateKey(
  { functionId }: Pick<FlowEntry, 'functionId'>,
  rule: FlowRule,
  key: string,
): FlowStateKey {
  return { functionId, rule, keyHash: keyHash(key) };
}

export function nameOf({ functionId, rule, keyHash: hash }: FlowStateKey): string {
  return `${functionId} ${rule} ${hash}`;
}
