/**
 * Routing, decided: which runs an event starts, given a registry and who has workers. No I/O and no clock; whether the
 * registry was still the current one is for the statement that stores the runs to say.
 *
 * R1 A function gets at most one run of an event, whatever number of its triggers match.
 * R2 Each function whose trigger names the event has one disposition: a run, or a skip with its reason; a condition that
 *    is false is no match.
 * R3 An event is routed as a whole: while one of its conditions is undecided, none of its runs begins.
 * R4 An event that is for one function starts that one and no other. If its app no longer has it, the run is skipped: whoever
 *    waits for it is told.
 * R5 The same event and registry always give the same runs, with the same ids, in the same order.
 */
import { createHash } from 'node:crypto';
import type { FlowArrival, NewRun } from '@ironflow/database';
import { deriveRunId, formatTraceparent, parseTraceparent } from '@ironflow/schema';
import type { RegisteredApp, Registry, StoredEvent } from '@ironflow/schema';
import { createConditionSubject } from './condition.js';
import type { Conditions, ConditionSubject } from './condition.js';
import { identify, isFlowControlled } from './flow-keys.js';
import { overlapOf } from './schedule-overlap.js';
import { addressedFunction, addressee, candidatesFor } from './trigger-index.js';
import type { Candidate } from './trigger-index.js';

export interface RoutingView {
  conditions: Conditions;
  workerPresent(appId: string): boolean;
  isPaused(functionId: string): boolean;
}

export type Routing =
  | { kind: 'matched'; runs: NewRun[] }
  /** The machine was too busy to judge a condition. */
  | { kind: 'undecided' };

type Disposition =
  | { kind: 'run'; flow?: FlowArrival | undefined }
  | { kind: 'skip'; reason: string }
  | { kind: 'none' }
  | { kind: 'undecided' };

export function routeEvent(event: StoredEvent, registry: Registry, view: RoutingView): Routing {
  const candidates =
    event.functionId === undefined
      ? candidatesFor(registry, event.name)
      : addressee(registry, event.functionId);
  const traceparent = traceparentOfRuns(event);
  if (candidates.length === 0) return { kind: 'matched', runs: ofArchived(event, registry, traceparent) };
  let subject: ConditionSubject | undefined;
  const runs: NewRun[] = [];
  for (const candidate of candidates) {
    const subjectOf = (): ConditionSubject => (subject ??= createConditionSubject(event));
    const matched = decide(candidate, view.conditions, subjectOf);
    const disposition = matched.kind === 'run' ? controlled(candidate, event, view, subjectOf) : matched;
    if (disposition.kind === 'undecided') return { kind: 'undecided' };
    if (disposition.kind === 'none') continue;
    runs.push({
      ...identityOf(event, targetOf(candidate), traceparent),
      ...(disposition.kind === 'skip'
        ? { status: 'skipped', skipReason: disposition.reason }
        : { ...startOf(candidate, view, disposition.flow), ...deadlineOf(candidate) }),
    });
  }
  return { kind: 'matched', runs };
}

/** The span `workflow.route`: its runs' parent, known before it is recorded. */
export function routeSpanId(eventId: string): string {
  return createHash('sha256').update(`route\n${eventId}`).digest('hex').slice(0, 16);
}

function traceparentOfRuns(event: StoredEvent): string | undefined {
  const parent = parseTraceparent(event.traceparent);
  return parent && formatTraceparent({ ...parent, spanId: routeSpanId(event.id) });
}

/** A trigger that holds decides for the function, also past one whose condition could not be evaluated. */
function decide(candidate: Candidate, conditions: Conditions, subject: () => ConditionSubject): Disposition {
  let failure: string | undefined;
  let isUndecided = false;
  for (const condition of candidate.conditions) {
    if (condition === undefined) return { kind: 'run' };
    const verdict = conditions.evaluate(condition, subject());
    if (verdict.kind === 'true') return { kind: 'run' };
    if (verdict.kind === 'error') failure ??= verdict.reason;
    if (verdict.kind === 'undecided') isUndecided = true;
  }
  if (isUndecided) return { kind: 'undecided' };
  return failure === undefined ? { kind: 'none' } : { kind: 'skip', reason: failure };
}

/** What flow control has to know of a run, if its function has any. */
function controlled(
  { registered }: Candidate,
  event: StoredEvent,
  view: RoutingView,
  subject: () => ConditionSubject,
): Disposition {
  const { config } = registered;
  const overlap = overlapOf(event, config);
  if (!isFlowControlled(config) && overlap === undefined && !view.isPaused(config.id)) return { kind: 'run' };
  const identity = identify(event, { functionId: config.id, config, overlap }, view.conditions, subject);
  if (identity.kind === 'undecided') return { kind: 'undecided' };
  if (identity.kind === 'refused') return { kind: 'skip', reason: identity.reason };
  const { keys, priorityMs } = identity;
  const { receivedAtMs } = event;
  const bytes = Buffer.byteLength(event.data);
  return { kind: 'run', flow: { keys, bytes, receivedAtMs, positionMs: receivedAtMs - priorityMs } };
}

/** One that is queued waits there for a worker as well. */
function startOf(
  { app }: Candidate,
  view: RoutingView,
  flow: FlowArrival | undefined,
): Pick<NewRun, 'status' | 'flow'> {
  if (flow !== undefined) return { status: 'queued', flow };
  const isServed = app.mode === 'push' || view.workerPresent(app.id);
  return { status: isServed ? 'queued' : 'waiting_for_worker' };
}

function deadlineOf({ registered }: Candidate): Pick<NewRun, 'startDeadlineMs'> {
  const { startDeadlineMs } = registered.config;
  return startDeadlineMs === undefined ? {} : { startDeadlineMs };
}

function ofArchived(event: StoredEvent, registry: Registry, traceparent: string | undefined): NewRun[] {
  const functionId = addressedFunction(event);
  const archived = functionId === undefined ? undefined : registry.archived.get(functionId);
  const app = archived && registry.apps.get(archived.appId);
  if (app === undefined) return [];
  const target = { app, functionId: functionId!, functionHash: archived!.hash };
  return [{ ...identityOf(event, target, traceparent), status: 'skipped', skipReason: 'function_archived' }];
}

interface Target {
  app: RegisteredApp;
  functionId: string;
  functionHash: string;
}

function targetOf({ app, registered }: Candidate): Target {
  return { app, functionId: registered.config.id, functionHash: registered.hash };
}

function identityOf(event: StoredEvent, target: Target, traceparent: string | undefined) {
  const { environmentId } = event.scope;
  const { app, functionId, functionHash } = target;
  return {
    id: deriveRunId({ environmentId, eventId: event.id, functionId }),
    environmentId,
    eventId: event.id,
    appId: app.id,
    functionId,
    functionHash,
    mode: app.mode,
    correlationId: event.correlationId,
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(event.rerunOf === undefined ? {} : { rerunOf: event.rerunOf }),
    ...(event.rerunFromStep === undefined ? {} : { rerunFromStep: event.rerunFromStep }),
  };
}
