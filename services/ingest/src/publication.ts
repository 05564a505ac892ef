/**
 * Stored events on their way to the scheduler. Nobody waits for it: what is not published is published again by the
 * scheduler's sweep over unrouted events, so a failure here is counted and costs time, never an event.
 */
import { TurnoverMap } from '@ironflow/collections';
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

export function createPublication(options: PublicationOptions): Publication {
  const counter = options.metrics.counter('ingest_events_published_total', 'Events told to the scheduler');
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

  async function send(event: StoredEvent): Promise<void> {
    const data = JSON.stringify(event);
    underWayBytes += data.length;
    try {
      const result = await options.jetstream.publisher.publish({
        subject: subjects.event(event.scope, event.name),
        data,
        messageId: `${event.scope.environmentId}.${event.id}`,
        headers: headersOf(event),
      });
      outcomes[result.kind].add();
    } catch (error) {
      outcomes.unanswered.add();
      options.logger.warn({ err: error }, 'an event was not published; the sweep will do it');
    } finally {
      underWayBytes -= data.length;
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
      const sent = send(event).finally(() => underWay.delete(id));
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
