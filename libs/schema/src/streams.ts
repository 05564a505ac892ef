/** The one table of streams, durable consumers and buckets. libs/jetstream provisions from it; nothing else declares one. */
import type { Scope } from './identifiers.js';
import { laneToken, parseLane } from './lane.js';
import type { Lane } from './lane.js';
import { subjectFilters, subjects } from './subjects.js';

/** Of nats-server: atomic batches and message schedules came with 2.12. */
export const natsVersionMinimum = [2, 12] as const;

const mebibyte = 1024 * 1024;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

export interface StreamDefinition {
  name: StreamName;
  subjects: string[];
  retention: 'limits' | 'workqueue';
  /** 0: no limit. */
  maxAgeMs: number;
  maxBytes: number;
  /** `refuse` answers publishers with an error, `drop-oldest` makes room: only where Postgres has the data. */
  whenFull: 'refuse' | 'drop-oldest';
  maxMessagesPerSubject?: number;
  /** Consumers beyond the server's default of 1,000. */
  maxConsumers?: number;
  /** Sequences begin at the time in microseconds since 1970, so that none is used twice after NATS was wiped. */
  sequenceFromTime?: boolean;
  duplicateWindowMs: number;
}

export type StreamName = 'INGEST' | 'EVENTS' | 'STEPS' | 'RESULTS' | 'CANCEL' | 'PUBSUB' | 'DLQ';

const duplicateWindowMs = 120_000;

export const streams: Record<StreamName, StreamDefinition> = {
  INGEST: {
    name: 'INGEST',
    subjects: [subjectFilters.everyIngested],
    retention: 'workqueue',
    maxAgeMs: dayMs,
    maxBytes: 128 * mebibyte,
    whenFull: 'refuse',
    duplicateWindowMs,
  },
  EVENTS: {
    name: 'EVENTS',
    subjects: [subjectFilters.everyEvent],
    retention: 'limits',
    maxAgeMs: 7 * dayMs,
    maxBytes: 512 * mebibyte,
    whenFull: 'drop-oldest',
    duplicateWindowMs,
  },
  STEPS: {
    name: 'STEPS',
    subjects: [subjectFilters.everyActivation],
    retention: 'workqueue',
    maxAgeMs: dayMs,
    maxBytes: 512 * mebibyte,
    whenFull: 'refuse',
    maxMessagesPerSubject: 1,
    maxConsumers: 10_000,
    sequenceFromTime: true,
    duplicateWindowMs,
  },
  RESULTS: {
    name: 'RESULTS',
    subjects: [subjectFilters.everyJournal],
    retention: 'limits',
    // No age: an entry leaves when the collector trims it, which is never before Postgres has it.
    maxAgeMs: 0,
    maxBytes: 1024 * mebibyte,
    whenFull: 'refuse',
    sequenceFromTime: true,
    duplicateWindowMs,
  },
  CANCEL: {
    name: 'CANCEL',
    subjects: [subjectFilters.everyCancellation],
    retention: 'limits',
    maxAgeMs: hourMs,
    maxBytes: 64 * mebibyte,
    whenFull: 'drop-oldest',
    duplicateWindowMs,
  },
  PUBSUB: {
    name: 'PUBSUB',
    subjects: [subjectFilters.everyPublic],
    retention: 'limits',
    maxAgeMs: 7 * dayMs,
    maxBytes: 512 * mebibyte,
    whenFull: 'drop-oldest',
    // Readers of topics go on from a sequence that they have seen.
    sequenceFromTime: true,
    // Notices have no ids; those of topics' messages are remembered for as long as a step may take to be tried again.
    duplicateWindowMs: 5 * duplicateWindowMs,
  },
  DLQ: {
    name: 'DLQ',
    subjects: [subjectFilters.everyDeadLetter],
    retention: 'limits',
    maxAgeMs: 30 * dayMs,
    maxBytes: 512 * mebibyte,
    whenFull: 'drop-oldest',
    duplicateWindowMs,
  },
};

/** A stream of one message, for a moment: whether anything can be stored. Its name and its subject go on with a random id. */
export const storageProbe = { streamPrefix: 'IRONFLOW_DOCTOR_', subjectPrefix: 'ironflow-doctor.' } as const;

/** What the collector keeps of RESULTS after Postgres has it. */
export const resultsTrim = { maxAgeMs: hourMs, maxBytes: 128 * mebibyte } as const;

/** How long a delivered message may go without a sign of life before it is delivered to another. */
export const ackWaitMs = 5_000;

export interface ConsumerDefinition {
  stream: StreamName;
  durable: string;
  filterSubject?: string;
  maxAckPending: number;
  /** Removed by the server after this long without a reader. */
  inactiveThresholdMs?: number;
}

export const consumers = {
  ingest: { stream: 'INGEST', durable: 'ingest', maxAckPending: 5_000 },
  scheduler: { stream: 'EVENTS', durable: 'scheduler', maxAckPending: 10_000 },
  pushExecutor: {
    stream: 'STEPS',
    durable: 'executor-push',
    filterSubject: subjectFilters.everyPushActivation,
    maxAckPending: 20_000,
  },
  resultCollector: { stream: 'RESULTS', durable: 'result-collector', maxAckPending: 20_000 },
  circuitBreaker: {
    stream: 'RESULTS',
    durable: 'circuit-breaker',
    filterSubject: subjectFilters.everyRunEntry,
    maxAckPending: 20_000,
  },
} as const satisfies Record<string, ConsumerDefinition>;

/** How long the consumer of a lane is kept after its last worker has gone. */
export const idleLaneKeptMs = hourMs;

/** The consumer of one lane: made when its first worker connects, gone after an hour without one. */
export function pullConsumer(of: {
  environmentId: string;
  lane: Lane;
  filterSubject: string;
}): ConsumerDefinition {
  return {
    stream: 'STEPS',
    durable: `pull_${of.environmentId}_${laneToken(of.lane)}`,
    filterSubject: of.filterSubject,
    maxAckPending: 10_000,
    inactiveThresholdMs: idleLaneKeptMs,
  };
}

/** The consumer of an environment's lane for runs of a flood: made when it has one, gone an hour after. */
export function bulkConsumer(of: { environmentId: string; filterSubject: string }): ConsumerDefinition {
  return {
    stream: 'STEPS',
    durable: `bulk_${of.environmentId}`,
    filterSubject: of.filterSubject,
    maxAckPending: 10_000,
    inactiveThresholdMs: idleLaneKeptMs,
  };
}

/** By which a consumer is counted in metrics: lanes of one kind together, since there is no bound to them. */
export function consumerKindOf(durable: string): string {
  return lanePrefixes.find((kind) => durable.startsWith(`${kind}_`)) ?? durable;
}

const lanePrefixes = ['pull', 'bulk'] as const;

/** Whose lane a consumer is: the reverse of `pullConsumer`. */
export function parsePullConsumer(durable: string): ({ environmentId: string } & Lane) | undefined {
  const [kind, environmentId, ...rest] = durable.split('_');
  const lane = parseLane(rest.join('_'));
  return kind === 'pull' && environmentId !== undefined && lane !== undefined
    ? { environmentId, ...lane }
    : undefined;
}

/** Where messages of one environment may be: every stream and bucket with the filter of what is that environment's there. */
export function placesOfEnvironment(scope: Scope): { stream: string; filter: string }[] {
  const { environmentId } = scope;
  const messages = Object.keys(streams).map((stream) => ({
    stream,
    filter: stream === 'PUBSUB' ? subjects.publicOf(scope) : subjects.messagesOf(scope),
  }));
  const entries = Object.keys(buckets).flatMap((bucket) =>
    [environmentId, `${environmentId}.>`].map((keys) => ({
      stream: `KV_${bucket}`,
      filter: `$KV.${bucket}.${keys}`,
    })),
  );
  return [...messages, ...entries];
}

export type BucketName =
  'SYS_functions' | 'SYS_workers' | 'SYS_cron_triggers' | 'SYS_circuit_breakers' | 'SYS_debounce_state';

export interface BucketDefinition {
  name: BucketName;
  /** Keys vanish after this long; 0: never. */
  ttlMs: number;
  maxBytes: number;
}

/** Live views and markers; the truth of each is Postgres or is rebuilt by whoever holds it. */
export const buckets: Record<BucketName, BucketDefinition> = {
  /** `<environment id>` → the version of its registry: the signal to read it again. */
  SYS_functions: { name: 'SYS_functions', ttlMs: 0, maxBytes: 64 * mebibyte },
  /** `<environment id>.<lane>.<executor id>` while that executor holds a socket of a worker that serves it. */
  SYS_workers: { name: 'SYS_workers', ttlMs: 15_000, maxBytes: 64 * mebibyte },
  /** `<firing's event id>`: the first `create` fires it, the others need not. */
  SYS_cron_triggers: { name: 'SYS_cron_triggers', ttlMs: dayMs, maxBytes: 64 * mebibyte },
  /** `<environment id>.<function id>.<hash of its key>` → the run that a debounce holds, and until when; no longer than one can be. */
  SYS_debounce_state: { name: 'SYS_debounce_state', ttlMs: 8 * dayMs, maxBytes: 64 * mebibyte },
  /** `<environment id>.<hash of function and endpoint>` → state of that breaker. */
  SYS_circuit_breakers: { name: 'SYS_circuit_breakers', ttlMs: 7 * dayMs, maxBytes: 64 * mebibyte },
};

/** Of a tenant; its stream is that of the KV convention. */
export function userBucketName(of: { environmentId: string; name: string }): string {
  return `APP_${of.environmentId}_${of.name}`;
}
