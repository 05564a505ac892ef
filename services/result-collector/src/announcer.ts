/** Tells what was accepted: a notice for every change of a run, and its span and count when it has ended. */
import type { AcceptedRun } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import type { SpanRecorder } from '@ironflow/service';
import type { Acceptance } from './acceptance.js';
import type { CollectorMetrics } from './collector-metrics.js';
import { announceAccepted, announceAgain, freedSlots, runsToLookAt } from './run-notice.js';
import type { Announcement } from './run-notice.js';
import { runSpan } from './run-span.js';

export interface Announcer {
  announce(acceptance: Acceptance): void;
}

export interface AnnouncerOptions {
  notices: Pick<Notices, 'publishRun' | 'publishWaits' | 'publishSlots'>;
  spans: SpanRecorder;
  metrics: Pick<CollectorMetrics, 'runsEnded' | 'runSeconds' | 'startDelaySeconds'>;
}

export function createAnnouncer({ notices, spans, metrics }: AnnouncerOptions): Announcer {
  const send = ({ notice, what }: Announcement): void => notices.publishRun(notice, what);
  return {
    announce: ({ accepted, present }) => {
      for (const part of accepted) {
        const { run, failure } = part;
        send(announceAccepted(part));
        for (const runId of runsToLookAt(part)) notices.publishWaits({ scope: run.scope, runId });
        if (run.endedAtMs === undefined) continue;
        countEnded(metrics, run);
        const span = spans.enabled ? runSpan(run, failure?.name) : undefined;
        if (span !== undefined) spans.record(span);
      }
      for (const notice of freedSlots(accepted.map(({ run }) => run))) notices.publishSlots(notice);
      // Only the notice: whoever got these accepted has written the span.
      for (const part of present) send(announceAgain(part));
    },
  };
}

function countEnded(
  metrics: AnnouncerOptions['metrics'],
  { status: outcome, createdAtMs, startedAtMs, endedAtMs }: AcceptedRun,
): void {
  metrics.runsEnded.add(1, { outcome });
  if (endedAtMs === undefined) return;
  metrics.runSeconds.record(Math.max(0, endedAtMs - createdAtMs) / 1_000, { outcome });
  // What is skipped has not begun.
  if (outcome === 'skipped') return;
  metrics.startDelaySeconds.record(Math.max(0, startedAtMs - createdAtMs) / 1_000);
}
