/**
 * What is known of the quotas of those environments that send requests. Asked for each request, so it answers at once with what it has, and
 * reads anew beside that: every few seconds while requests come, and when it hears that quotas were set. Of an environment that it does not know
 * yet it answers the defaults.
 */
import type { QuotaStore, QuotaUse } from '@ironflow/database';
import { defaultQuotas } from '@ironflow/schema';
import type { Quotas } from '@ironflow/schema';
import type { Clock } from './clock.js';

export interface KnownQuotas {
  quotas: Quotas;
  use: QuotaUse;
  /** Of the rates of this process, by the guard. */
  eventsNextAtMs: number | undefined;
  requestsNextAtMs: number | undefined;
}

export interface QuotaBookOptions {
  store: Pick<QuotaStore, 'read'>;
  /** How many replicas of this service there are. */
  countReplicas: () => Promise<number>;
  clock: Clock;
}

export interface QuotaBook {
  of(environmentId: string): KnownQuotas;
  readonly replicas: number;
  /** Read them anew, if anybody asks for them here. */
  forget(environmentId: string): void;
  /** What is being read is read to its end. */
  settle(): Promise<void>;
}

interface Entry extends KnownQuotas {
  /** When they are to be read anew. */
  staleAtMs: number;
  isReading: boolean;
  /** They were set while they were read. */
  isOutdated: boolean;
}

const freshMs = 5_000;
/** Counting a long queue takes a while: of each, such a share of the time at most. */
const readShareMax = 1 / 20;
/** Of the connections that requests are answered by. */
const readingMax = 2;
const entriesMax = 10_000;

export function createQuotaBook({ store, countReplicas, clock }: QuotaBookOptions): QuotaBook {
  const entries = new Map<string, Entry>();
  const reading = new Set<Promise<void>>();
  let replicas = 1;
  let replicasStaleAtMs = -Infinity;

  function begin(work: Promise<void>): void {
    const ended = work.finally(() => reading.delete(ended));
    reading.add(ended);
  }

  async function read(environmentId: string, entry: Entry): Promise<void> {
    const startedAtMs = clock.now();
    entry.isReading = true;
    entry.isOutdated = false;
    // With what was known it goes on while Postgres is away.
    const known = await store.read(environmentId).catch(() => undefined);
    Object.assign(entry, known);
    const tookMs = clock.now() - startedAtMs;
    entry.isReading = false;
    entry.staleAtMs = entry.isOutdated ? -Infinity : clock.now() + Math.max(freshMs, tookMs / readShareMax);
  }

  async function readReplicas(): Promise<void> {
    // None: not even this one is heard, which says nothing of how many there are.
    const count = await countReplicas().catch(() => 0);
    if (count > 0) replicas = count;
  }

  function enter(environmentId: string): Entry {
    const known = entries.get(environmentId);
    if (known !== undefined) return known;
    if (entries.size >= entriesMax) entries.delete(entries.keys().next().value!);
    const entry: Entry = {
      quotas: defaultQuotas,
      use: { queuedRuns: 0, storageBytes: 0 },
      eventsNextAtMs: undefined,
      requestsNextAtMs: undefined,
      staleAtMs: -Infinity,
      isReading: false,
      isOutdated: false,
    };
    entries.set(environmentId, entry);
    return entry;
  }

  function refresh(environmentId: string, entry: Entry): void {
    const nowMs = clock.now();
    if (nowMs >= entry.staleAtMs && !entry.isReading && reading.size < readingMax) {
      begin(read(environmentId, entry));
    }
    if (nowMs < replicasStaleAtMs) return;
    replicasStaleAtMs = nowMs + freshMs;
    void readReplicas();
  }

  return {
    of: (environmentId) => {
      const entry = enter(environmentId);
      refresh(environmentId, entry);
      return entry;
    },
    get replicas() {
      return replicas;
    },
    forget: (environmentId) => {
      const entry = entries.get(environmentId);
      if (entry === undefined) return;
      entry.staleAtMs = -Infinity;
      entry.isOutdated = true;
      refresh(environmentId, entry);
    },
    settle: async () => {
      await Promise.all(reading);
    },
  };
}
