/** Drives push runs: call the endpoint, make durable what it answers, call again, until the run ends or waits. */
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import type { RegistryReader, TenantStore } from '@ironflow/database';
import type { Failure, PushAnswer, RegisteredApp } from '@ironflow/schema';
import { limitActivity, toInvocation } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import { concluded, reportOf } from './call-admission.js';
import type { CallAdmission, CallPlace, Driven } from './call-admission.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import { badAnswer, misfitOf } from './outcome.js';
import type { PushCaller, PushResult } from './push-call.js';
import { isCompensation } from './run-position.js';
import type { RunLogs } from './run-logs.js';
import type { Settlement } from './settlement.js';

export interface PushDriverOptions {
  registry: RegistryReader;
  tenants: Pick<TenantStore, 'signingKeys'>;
  caller: PushCaller;
  admission: CallAdmission;
  settlement: Settlement;
  logs: Pick<RunLogs, 'add'>;
  metrics: ExecutorMetrics;
  deadlineMs: number;
}

export function createPushDriver(options: PushDriverOptions): (run: ActiveRun) => Promise<Driven> {
  return async (run) => {
    const { environmentId } = run.scope;
    const registry = await options.registry.atLeast(environmentId, run.registryVersion);
    const config = registry.functions.get(run.functionId)?.config;
    const policy = config?.retries ?? defaultRetryPolicy;
    limitActivity(run, config?.timeoutMs);
    const app = registry.apps.get(run.appId);
    // Once: a run under way does not depend on Postgres. Keys that are rotated meanwhile are valid for a while.
    const signingKeys = await options.tenants.signingKeys(environmentId);
    const place = { endpoint: app?.url ?? '', breaker: config?.circuitBreaker };
    return options.admission(run, place, (probe) =>
      drive(options, run, { app, ...place, policy, signingKeys, probe }),
    );
  };
}

interface Target extends CallPlace {
  app: RegisteredApp | undefined;
  policy: RetryPolicy;
  signingKeys: string[];
  probe: number | undefined;
}

async function drive(options: PushDriverOptions, run: ActiveRun, target: Target): Promise<Driven> {
  const { settlement, logs, metrics, deadlineMs } = options;
  const { policy, probe } = target;
  const abort = new AbortController();
  run.lease.onLost((reason) => abort.abort(reason));
  if (run.stopping === undefined) run.stop.onRequested(() => abort.abort('the run is to stop'));
  for (let calls = 1; ; calls += 1) {
    const startedMs = performance.now();
    const result = await call(options, run, { ...target, calls, signal: abort.signal });
    metrics.calls.add(1, { mode: 'push', result: result.kind });
    const outcome = { ...reportOf(target, probe), succeeded: result.kind === 'answered' };
    const remainingMs = Math.max(0, Math.ceil(deadlineMs - (performance.now() - startedMs)));
    if (result.kind === 'aborted') {
      const isToStop = run.stopping === undefined && run.stop.isRequested;
      return isToStop ? concluded(settlement.stop(run, hungUpMs(run, remainingMs))) : 'over';
    }
    if (result.kind === 'failed') {
      const notBeforeMs = result.mayStillRun ? remainingMs : 0;
      const failure = { error: result.error, notBeforeMs };
      return concluded(settlement.endFailedCall(run, failure, outcome, policy));
    }
    const { records, outcome: end, lines = [] } = result.answer;
    logs.add(run, calls, lines);
    const error = refusalOf(result.answer, calls) ?? misfitOf(end, run.stopping);
    if (error !== undefined) {
      return concluded(settlement.endFailedCall(run, { error }, { ...outcome, succeeded: false }, policy));
    }
    if (end.kind !== 'continue' && end.kind !== 'declined') {
      return concluded(settlement.end(run, records, end, outcome));
    }
    const recorded = await settlement.record(run, records);
    if (recorded !== 'settled') return recorded;
  }
}

/** A function that is hung up on has its signal fire at once; only what is undone waits for one that does not heed it. */
const heededWithinMs = 2_000;

function hungUpMs(run: ActiveRun, remainingMs: number): number {
  const hasToUndo = run.hasRegistered || [...run.memo.values()].some(isCompensation);
  return hasToUndo ? remainingMs : Math.min(remainingMs, heededWithinMs);
}

/** Why an answer of the protocol is none that an endpoint may give. */
function refusalOf({ outcome, records }: PushAnswer, calls: number): Failure | undefined {
  if (outcome.kind === 'declined') return badAnswer('only workers can decline a run');
  if (outcome.kind !== 'continue') return undefined;
  if (records.length === 0) return badAnswer('the endpoint wants to go on but recorded nothing');
  return calls >= callsMax ? badAnswer(`the endpoint wants to go on after ${callsMax} calls`) : undefined;
}

const answerGraceMs = 2_000;
/** Calls of one activation: more than a run has steps, with retries that follow at once. Beyond, an endpoint goes round in circles. */
const callsMax = 10_000;

async function call(
  options: PushDriverOptions,
  run: ActiveRun,
  { app, signingKeys, calls, signal }: Target & { calls: number; signal: AbortSignal },
): Promise<PushResult> {
  if (app?.url === undefined) {
    const error = { name: 'app_gone', message: `the app "${run.appId}" has no endpoint any more` };
    return { kind: 'failed', error, mayStillRun: false };
  }
  if (!run.lease.isHeld()) return { kind: 'aborted' };
  const { activation, delivery, executor } = run.writer;
  return options.caller.call({
    url: app.url,
    id: `${run.runId}.${activation}.${delivery}.${executor}.${calls}`,
    invocation: toInvocation(run, options.deadlineMs),
    signingKeys,
    signedAnswers: app.signedAnswers,
    trace: run.trace,
    // The SDK answers at the deadline what it has by then: its answer needs a moment to arrive.
    timeoutMs: options.deadlineMs + answerGraceMs,
    signal,
  });
}
