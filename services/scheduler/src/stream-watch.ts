/**
 * How full streams are and how far their consumers, for metrics and for those that decide how many executors there should be.
 * Asked of NATS only when somebody asks here. What cannot be told is missing, or an error: never a zero.
 */
import type { JetStream, NamedConsumerState, StreamState } from '@ironflow/jetstream';
import { consumerKindOf, streams } from '@ironflow/schema';
import type { ExecutorBacklog, StreamName } from '@ironflow/schema';
import type { Clock, Metrics, Observation } from '@ironflow/service';
import { executorBacklog } from './executor-backlog.js';
import { createRecentAnswer } from './recent-answer.js';
import type { WorkerPresence } from './worker-presence.js';

export interface StreamWatchOptions {
  states: Pick<JetStream['states'], 'stream' | 'consumersOf'>;
  /** Rejects when nobody can be asked. */
  countExecutors: () => Promise<number>;
  presence: Pick<WorkerPresence, 'slotsOf'>;
  metrics: Metrics;
  clock: Clock;
}

export interface StreamWatch {
  /** Rejects when it is not known now: of the whole installation, or not at all. */
  executorBacklog(): Promise<ExecutorBacklog>;
}

/** Those with consumers that are there for good. */
const watchedConsumers = ['INGEST', 'EVENTS', 'STEPS', 'RESULTS'] as const satisfies StreamName[];
const streamNames = Object.keys(streams) as StreamName[];

export function createStreamWatch(options: StreamWatchOptions): StreamWatch {
  const { states, presence, clock } = options;
  const recently = <Answer>(ask: () => Promise<Answer>) => createRecentAnswer(ask, clock);
  const streamStates = recently(() => settled(streamNames, (name) => states.stream(name)));
  const steps = recently(() => states.consumersOf('STEPS'));
  const countExecutors = recently(options.countExecutors);
  const consumerStates = recently(() =>
    settled(watchedConsumers, (name) => (name === 'STEPS' ? steps() : states.consumersOf(name))),
  );
  const waiting = async () => executorBacklog(await steps(), (lane) => presence.slotsOf(lane));

  const { metrics } = options;
  metrics.gauge(
    'executor_backlog',
    'Activations that wait and that one more executor would help with, of the whole installation',
    async () => (await waiting()).backlog,
  );
  watchStreams(metrics, streamStates);
  watchConsumers(metrics, consumerStates);
  return {
    executorBacklog: async () => {
      const [{ backlog, active }, executors] = await Promise.all([waiting(), countExecutors()]);
      return { backlog, active, executors, perExecutor: backlog / Math.max(1, executors) };
    },
  };
}

type Settled<Name, State> = () => Promise<readonly (readonly [Name, State | undefined])[]>;

/** Undefined for what did not answer: one stream without a leader does not hide the others. */
async function settled<Name, State>(
  names: readonly Name[],
  ask: (name: Name) => Promise<State>,
): Promise<readonly (readonly [Name, State | undefined])[]> {
  const answers = await Promise.allSettled(names.map(ask));
  return names.map((name, index) => {
    const answer = answers[index]!;
    return [name, answer.status === 'fulfilled' ? answer.value : undefined] as const;
  });
}

function watchStreams(metrics: Metrics, streamStates: Settled<StreamName, StreamState>): void {
  const labels = ['stream'] as const;
  const observe = (read: (state: StreamState) => number) => async (): Promise<Observation<'stream'>[]> =>
    (await streamStates()).flatMap(([stream, state]) =>
      state === undefined ? [] : [{ value: read(state), labels: { stream } }],
    );
  metrics.gauge(
    'stream_messages',
    'Messages in a stream',
    observe(({ messages }) => messages),
    labels,
  );
  metrics.gauge(
    'stream_bytes',
    'Size of a stream',
    observe(({ bytes }) => bytes),
    labels,
  );
  const largest = observe(({ maxBytes }) => maxBytes);
  metrics.gauge('stream_max_bytes', 'How large a stream may become', largest, labels);
  const behind = observe(({ replicasBehind }) => replicasBehind);
  metrics.gauge('stream_replicas_behind', 'Replicas that are away or have not caught up', behind, labels);
  const led = async (): Promise<Observation<'stream'>[]> =>
    (await streamStates()).map(([stream, state]) => ({
      value: state === undefined ? 0 : 1,
      labels: { stream },
    }));
  metrics.gauge('stream_leader', 'Whether the leader of a stream answers', led, labels);
}

function watchConsumers(metrics: Metrics, consumerStates: Settled<string, NamedConsumerState[]>): void {
  const labels = ['stream', 'consumer'] as const;
  const observe = (of: 'pending' | 'ackPending') => async () =>
    (await consumerStates()).flatMap(([stream, states]) =>
      [...sumsByKind(states ?? [], of)].map(([consumer, value]) => ({ value, labels: { stream, consumer } })),
    );
  const pending = 'Messages that a consumer has still to deliver; lanes of one kind together';
  metrics.gauge('consumer_pending', pending, observe('pending'), labels);
  const ackPending = 'Messages that were delivered and not acknowledged; lanes of one kind together';
  metrics.gauge('consumer_ack_pending', ackPending, observe('ackPending'), labels);
}

function sumsByKind(
  states: readonly NamedConsumerState[],
  of: 'pending' | 'ackPending',
): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const state of states) {
    const kind = consumerKindOf(state.durable);
    sums.set(kind, (sums.get(kind) ?? 0) + state[of]);
  }
  return sums;
}
