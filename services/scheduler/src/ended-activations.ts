/**
 * What follows when Postgres has accepted the end of an activation: a run with reasons that it has not served goes on at
 * once, and so does one that was asked to stop. A new timer is known of before it is due, also while the activation that
 * brought it goes on, a wait is looked at as soon as what it waits for may be there, and the event that tells of a failure is
 * routed. Notices come at most once; the sweep and the timers' poll make up for those that do not.
 */
import type { RunToActivate } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import { isTerminal, subjectFilters } from '@ironflow/schema';
import type { RunNotice, StopNotice } from '@ironflow/schema';
import type { Admission } from './admission.js';
import type { EventRouter } from './event-router.js';
import type { FlowControl } from './flow-control.js';
import type { Timers } from './timers.js';
import type { Waits } from './waits.js';

export interface EndedActivationsOptions {
  notices: Pick<Notices, 'onRun' | 'onStop' | 'onWaits' | 'onSlots'>;
  admission: Pick<Admission, 'admit'>;
  timers: Pick<Timers, 'arm' | 'ask'>;
  waits: Pick<Waits, 'look'>;
  router: Pick<EventRouter, 'routeNow'>;
  flow: Pick<FlowControl, 'ask'>;
}

/** One replica hears each notice. */
const queueGroup = 'scheduler';

/** Answers how to stop it. */
export function followEndedActivations(options: EndedActivationsOptions): () => void {
  const { admission, timers, waits, router } = options;
  const onYielded = (notice: RunNotice): void => {
    if (notice.nextDueInMs !== undefined) timers.arm(notice.nextDueInMs);
    // Its timer came with an earlier record, whose notice was another.
    else if (notice.status === 'waiting') timers.ask();
    if (!needsActivation(notice)) return;
    void admission.admit([runOf(notice)], { replacing: true });
  };
  const onArmed = ({ nextDueInMs }: RunNotice): void => {
    if (nextDueInMs !== undefined) timers.arm(nextDueInMs);
  };
  const undo = [
    options.notices.onRun(subjectFilters.everyYieldedNotice, onYielded, queueGroup),
    options.notices.onRun(subjectFilters.everyArmedNotice, onArmed, queueGroup),
    options.notices.onWaits(({ runId }) => void waits.look(runId), queueGroup),
    options.notices.onRun(
      subjectFilters.everyFailedNotice,
      ({ failureEventId }) => failureEventId !== undefined && void router.routeNow(failureEventId),
      queueGroup,
    ),
    options.notices.onSlots(
      ({ scope, slots }) => options.flow.ask(scope.environmentId, { freed: slots }),
      queueGroup,
    ),
    // Whoever drives it hears of it as well; if nobody does, somebody has to.
    options.notices.onStop((run) => void admission.admit([runOf(run)], { replacing: true }), queueGroup),
  ];
  return () => {
    for (const stop of undo) stop();
  };
}

function runOf(notice: StopNotice & Pick<RunNotice, 'limited'>): RunToActivate {
  const { runId, scope, mode, appId, buildId, functionId, eventId, limited, bulk } = notice;
  return {
    ...{ runId, scope, mode, appId, functionId, eventId },
    ...(buildId === undefined ? {} : { buildId }),
    ...(limited === true ? { limited } : {}),
    ...(bulk === true ? { bulk } : {}),
  };
}

export function needsActivation(notice: Pick<RunNotice, 'wake' | 'served' | 'status'>): boolean {
  return notice.wake > notice.served && !isTerminal(notice.status) && notice.status !== 'waiting_for_worker';
}
