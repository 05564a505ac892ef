/** A firing as the event that ingest stores. Pure. */
import { firingData } from '@ironflow/schedule';
import { headerNames, subjects, systemEventNames } from '@ironflow/schema';
import type { IngestMessage } from '@ironflow/schema';
import type { Publication } from '@ironflow/jetstream';
import type { Firing } from './schedule-book.js';

export function toPublication(firing: Firing, traceparent: string | undefined): Publication {
  const { schedule, scheduledAtMs, eventId } = firing;
  const { scope, functionId, trigger } = schedule;
  const name = systemEventNames.cron(functionId);
  const data = firingData({ functionId, trigger }, { scheduledAtMs, cause: 'time' });
  const message: IngestMessage = {
    id: eventId,
    environmentId: scope.environmentId,
    name,
    data: JSON.stringify(data),
    source: 'cron',
    ...(traceparent === undefined ? {} : { traceparent }),
  };
  return {
    subject: subjects.ingest(scope, name),
    data: JSON.stringify(message),
    // Replicas that publish the same firing store it once, as far as the stream remembers; Postgres keeps one anyway.
    messageId: `${scope.environmentId}.${eventId}`,
    ...(traceparent === undefined ? {} : { headers: { [headerNames.traceparent]: traceparent } }),
  };
}
