/**
 * Stored events on their way to the scheduler. Nobody waits for it: what is not published is published again by the
 * scheduler's sweep over unrouted events, so a failure here is counted and costs time, never an event.
 *
 * Only so many are unanswered at a time, and the next ones are taken from each environment in turn: a request with a thousand
 * events keeps neither this process nor the connection to itself. Whoever has few under way need not wait for anybody's answer.
 */
import { TurnQueue, TurnoverMap } from '@ironflow/collections';
import type { JetStream, PublishResult } from '@ironflow/jetstream';
import { headerNames, subjects } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import type { Logger, Metrics, Stoppable } from '@ironflow/service';

export interface Publication extends Stoppable {
  /** Resolves, never rejects, when the stream has answered. */
  publish(event: StoredEvent): Promise<void>;
}

export interface PublicationOptions {
  jetstream: Pick<JetStream, 'publisher' | 'isConnected'>;
  metrics: Metrics;
  logger: Logger;
}

const underWayBytesMax = 64 * 1024 * 1024;
/** More than a round trip to the server needs, and little enough that who comes next is not behind thousands. */
const unansweredMax = 256;
const unansweredAnyway = 8;
/** What an event takes beside its data, roughly. */
const eventOverheadBytes = 500;

export function createPublication(options: PublicationOptions): Publication {
  const counter = options.metrics.counter('ingest_events_published_total', 'Events told to the scheduler', [
    'outcome',
  ]);
  const outcomes = {
    stored: counter.bind({ outcome: 'stored' }),
    stream_full: counter.bind({ outcome: 'stream_full' }),
    no_stream: counter.bind({ outcome: 'no_stream' }),
    unanswered: counter.bind({ outcome: 'unanswered' }),
    conflict: counter.bind({ outcome: 'refused' }),
    subject_taken: counter.bind({ outcome: 'refused' }),
    refused: counter.bind({ outcome: 'refused' }),
  } satisfies Record<PublishResult['kind'], unknown>;
  const underWay = new TurnoverMap<number, Promise<void>>();
  let published = 0;

  const skipped = counter.bind({ outcome: 'skipped' });
  let underWayBytes = 0;

  const waiting = new TurnQueue<{ event: StoredEvent; settle: () => void }>();
  const unansweredOf = new Map<string, number>();
  let unanswered = 0;

  function count({ scope: { environmentId } }: StoredEvent, change: 1 | -1): void {
    unanswered += change;
    const now = (unansweredOf.get(environmentId) ?? 0) + change;
    if (now > 0) unansweredOf.set(environmentId, now);
    else unansweredOf.delete(environmentId);
  }

  function sendNow(event: StoredEvent, settle: () => void): void {
    if (!options.jetstream.isConnected()) {
      skipped.add();
      return settle();
    }
    count(event, 1);
    void send(event).finally(() => {
      count(event, -1);
      settle();
      sendNext();
    });
  }

  function sendNext(): void {
    while (unanswered < unansweredMax && waiting.size > 0) {
      for (const { event, settle } of waiting.take(1)) sendNow(event, settle);
    }
  }

  async function send(event: StoredEvent): Promise<void> {
    try {
      const result = await options.jetstream.publisher.publish({
        subject: subjects.event(event.scope, event.name),
        data: JSON.stringify(event),
        messageId: `${event.scope.environmentId}.${event.id}`,
        headers: headersOf(event),
      });
      outcomes[result.kind].add();
    } catch (error) {
      outcomes.unanswered.add();
      options.logger.warn({ err: error }, 'an event was not published; the sweep will do it');
    }
  }

  return {
    publish: (event) => {
      // The client keeps what it cannot send; without a server that would be everything.
      if (!options.jetstream.isConnected() || underWayBytes > underWayBytesMax) {
        skipped.add();
        return Promise.resolve();
      }
      const id = (published += 1);
      const bytes = event.data.length + eventOverheadBytes;
      underWayBytes += bytes;
      const { environmentId } = event.scope;
      const sent = new Promise<void>((settle) => {
        if ((unansweredOf.get(environmentId) ?? 0) < unansweredAnyway) return sendNow(event, settle);
        waiting.add(environmentId, { event, settle });
        sendNext();
      }).finally(() => {
        underWayBytes -= bytes;
        underWay.delete(id);
      });
      underWay.set(id, sent);
      return sent;
    },
    stop: async () => {
      await Promise.allSettled(underWay.values());
    },
  };
}

function headersOf(event: StoredEvent): Record<string, string> {
  const headers: Record<string, string> = { [headerNames.correlationId]: event.correlationId };
  if (event.causationId !== undefined) headers[headerNames.causationId] = event.causationId;
  if (event.traceparent !== undefined) headers[headerNames.traceparent] = event.traceparent;
  return headers;
}
