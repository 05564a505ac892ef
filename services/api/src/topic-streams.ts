/**
 * Messages of topics as server-sent events. What is heard says that there is something; what is sent is read from the stream.
 * 1. Messages are listened to before the place to begin at is read, so nothing falls in between.
 * 2. The first event says where the subscription begins: who connects again, goes on from there or from the last message.
 * 3. Nothing is read for a reader that does not read, and one that has read nothing for a whole heartbeat is let go.
 * 4. What was not heard costs at most one heartbeat. The key is checked again with each.
 * 5. Subscriptions are bounded, those of one environment among them.
 */
import type { ServerResponse } from 'node:http';
import { IronflowError } from '@ironflow/errors';
import type { JetStream, StoredTopicMessage } from '@ironflow/jetstream';
import { limits } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';
import { finish, tooManyStreams } from './run-streams.js';

export interface TopicStreamsOptions {
  jetstream: Pick<JetStream, 'topics' | 'connection'>;
  logger: Logger;
  metrics: Metrics;
  clock: Clock;
  streamsMax?: number;
  perEnvironmentMax?: number;
  heartbeatMs?: number;
}

export interface TopicStreamRequest {
  scope: Scope;
  pattern: string;
  /** The sequence of the last message that the reader has. */
  after: number | undefined;
  /** Where the stream goes once it is known where it begins. */
  open: () => ServerResponse;
  /** Whether whoever asked may still see it. */
  isAllowed: () => Promise<boolean>;
}

export interface TopicStreams extends Stoppable {
  start(): void;
  /** Rejects, with nothing sent, when there is no room; resolves once the stream is on its way. */
  subscribe(request: TopicStreamRequest): Promise<void>;
  /** Ends what may not be seen any more of this environment's; its keys have changed. */
  recheck(environmentId: string): void;
  stop(): Promise<void>;
}

interface Subscription {
  environmentId: string;
  /** Once it is known of: whoever asked may have left by then. */
  begin(): void;
  look(): void;
  /** Ends it if whoever asked may not see it any more. */
  recheck(): void;
  end(): Promise<void>;
}

const streamsMaxDefault = 1_000;
const heartbeatMsDefault = 15_000;

export function createTopicStreams(options: TopicStreamsOptions): TopicStreams {
  const { topics, connection } = options.jetstream;
  const subscriptions = new Set<Subscription>();
  /** With those that are being opened. */
  const ofEnvironment = new Map<string, number>();
  let total = 0;
  let isStopped = false;
  let stopListening: (() => void) | undefined;
  options.metrics.gauge('api_topic_streams', 'Subscriptions of topics now', () => subscriptions.size);

  const count = (environmentId: string, by: 1 | -1): void => {
    total += by;
    const own = (ofEnvironment.get(environmentId) ?? 0) + by;
    if (own === 0) ofEnvironment.delete(environmentId);
    else ofEnvironment.set(environmentId, own);
  };
  const subscribe: TopicStreams['subscribe'] = async (request) => {
    const { environmentId } = request.scope;
    if (isStopped || total >= (options.streamsMax ?? streamsMaxDefault)) throw tooManyStreams();
    const ownMax = options.perEnvironmentMax ?? limits.topicSubscriptionsMax;
    if ((ofEnvironment.get(environmentId) ?? 0) >= ownMax) throw tooManySubscriptions(ownMax);
    count(environmentId, 1);
    let subscription: Subscription | undefined;
    const unsubscribe = topics.onMessage(request.scope, request.pattern, () => subscription?.look());
    const release = (): void => {
      unsubscribe();
      count(environmentId, -1);
      if (subscription !== undefined) subscriptions.delete(subscription);
    };
    try {
      const after = request.after ?? (await topics.lastSequence());
      subscription = createSubscription(options, { ...request, after }, release);
      subscriptions.add(subscription);
      subscription.begin();
    } catch (error) {
      release();
      throw error;
    }
    if (isStopped) void subscription.end();
    subscription.look();
  };

  return {
    subscribe,
    start: () => {
      stopListening = connection.onReconnect(() => {
        for (const subscription of subscriptions) subscription.look();
      });
    },
    recheck: (environmentId) => {
      for (const one of subscriptions) if (one.environmentId === environmentId) one.recheck();
    },
    stop: async () => {
      isStopped = true;
      stopListening?.();
      await Promise.all([...subscriptions].map((subscription) => subscription.end()));
    },
  };
}

function createSubscription(
  { jetstream, clock, logger, heartbeatMs = heartbeatMsDefault }: TopicStreamsOptions,
  { scope, pattern, after, open, isAllowed }: TopicStreamRequest & { after: number },
  release: () => void,
): Subscription {
  const response = open();
  let last = after;
  let isReading = false;
  let isDue = false;
  let isEnded = false;
  let wasFull = false;
  let heartbeat: TimerHandle | undefined;

  async function end(): Promise<void> {
    if (isEnded) return;
    isEnded = true;
    heartbeat?.cancel();
    release();
    await finish(response);
  }

  function look(): void {
    isDue = true;
    // One that is full looks again when it has been drained.
    if (isReading || isEnded || response.writableNeedDrain) return;
    isReading = true;
    void readOn()
      .catch((error: unknown) => logger.debug({ err: error }, 'a topic could not be read'))
      .finally(() => {
        isReading = false;
      });
  }

  async function readOn(): Promise<void> {
    while (isDue && !isEnded) {
      isDue = false;
      const message = await jetstream.topics.next(scope, pattern, last + 1);
      if (message === undefined || isEnded) continue;
      last = message.sequence;
      // There may be more behind it.
      isDue = true;
      if (!response.write(textOf(message))) return;
    }
  }

  function beat(): void {
    if (response.writableNeedDrain && wasFull) {
      response.destroy();
      void end();
      return;
    }
    wasFull = response.writableNeedDrain;
    if (!wasFull) response.write(': heartbeat\n\n');
    heartbeat = clock.setTimeout(beat, heartbeatMs);
    look();
    recheck();
  }

  // Postgres may be away: that is no reason to turn anybody out.
  function recheck(): void {
    void isAllowed().then(
      (allowed) => (allowed ? undefined : end()),
      () => undefined,
    );
  }

  function begin(): void {
    response.once('close', () => void end());
    response.on('drain', () => {
      wasFull = false;
      look();
    });
    if (response.closed || response.destroyed) return void end();
    heartbeat = clock.setTimeout(beat, heartbeatMs);
    response.write(`event: subscribed\ndata: {"after":"${after}"}\n\n`);
  }

  return { environmentId: scope.environmentId, begin, look, recheck, end };
}

/** The data is put in as it came: it is JSON on one line, since whoever published it wrote it so. */
function textOf({ sequence, topic, data, publishedAt }: StoredTopicMessage): string {
  const head = JSON.stringify({ id: String(sequence), topic, publishedAt });
  return `id: ${sequence}\nevent: message\ndata: ${head.slice(0, -1)},"data":${data}}\n\n`;
}

function tooManySubscriptions(max: number): IronflowError {
  const message = `this environment has ${max} subscriptions here already: end one, or share one`;
  return new IronflowError('too_many', 'too_many_subscriptions', message, { retryAfterSeconds: 5 });
}
