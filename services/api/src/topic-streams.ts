/**
 * Messages of topics (live-stream.ts). What is heard says that there is something; what is sent is read from the stream.
 * 1. Messages are listened to before the place to begin at is read, so nothing falls in between.
 * 2. The first event says where the subscription begins: who connects again, goes on from there or from the last message.
 * 3. Subscriptions are bounded, those of one environment among them.
 */
import { IronflowError } from '@ironflow/errors';
import type { JetStream, StoredTopicMessage } from '@ironflow/jetstream';
import { limits } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Metrics, Stoppable } from '@ironflow/service';
import { createLiveStream } from './live-stream.js';
import type { LiveStream, LiveStreamOptions, LiveStreamRequest } from './live-stream.js';
import { tooManyStreams } from './run-streams.js';

export interface TopicStreamsOptions extends LiveStreamOptions {
  jetstream: Pick<JetStream, 'topics' | 'connection'>;
  metrics: Metrics;
  streamsMax?: number;
  perEnvironmentMax?: number;
}

/** It is opened once it is known where it begins. */
export interface TopicStreamRequest extends Pick<LiveStreamRequest, 'open' | 'isAllowed'> {
  scope: Scope;
  pattern: string;
  /** The sequence of the last message that the reader has. */
  after: number | undefined;
}

export interface TopicStreams extends Stoppable {
  start(): void;
  /** Rejects, with nothing sent, when there is no room; resolves once the stream is on its way. */
  subscribe(request: TopicStreamRequest): Promise<void>;
  /** Ends what may not be seen any more of this environment's; its keys have changed. */
  recheck(environmentId: string): void;
  stop(): Promise<void>;
}

interface Subscription extends LiveStream {
  environmentId: string;
}

const streamsMaxDefault = 1_000;

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
      const stream = createLiveStream(options, messagesOf(topics, { ...request, after }), release);
      subscription = { environmentId, ...stream };
      subscriptions.add(subscription);
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

function messagesOf(
  topics: Pick<JetStream['topics'], 'next'>,
  { scope, pattern, after, open, isAllowed }: TopicStreamRequest & { after: number },
): LiveStreamRequest {
  let last = after;
  return {
    ...{ open, isAllowed },
    head: `event: subscribed\ndata: {"after":"${after}"}\n\n`,
    next: async () => {
      const message = await topics.next(scope, pattern, last + 1);
      if (message === undefined) return undefined;
      last = message.sequence;
      return textOf(message);
    },
  };
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
