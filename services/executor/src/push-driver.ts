/** Drives push runs: call the endpoint, make durable what it answers, call again, until the run ends or waits. */
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import type { RegistryReader, TenantStore } from '@ironflow/database';
import type { RegisteredApp } from '@ironflow/schema';
import { toInvocation } from './active-run.js';
import type { ActiveRun } from './active-run.js';
import type { CircuitGate } from './circuit-gate.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import type { PushCaller, PushResult } from './push-call.js';
import type { Settled, Settlement } from './settlement.js';

export interface PushDriverOptions {
  registry: RegistryReader;
  tenants: Pick<TenantStore, 'signingKeys'>;
  caller: PushCaller;
  circuits: CircuitGate;
  settlement: Settlement;
  metrics: ExecutorMetrics;
  deadlineMs: number;
}

/** Answers `restart` when the run has to be read again, and otherwise is over. */
export type Drive = (run: ActiveRun) => Promise<'over' | 'restart'>;

export function createPushDriver(options: PushDriverOptions): Drive {
  return async (run) => {
    const registry = await options.registry.atLeast(run.scope.environmentId, run.registryVersion);
    const policy = registry.functions.get(run.functionId)?.config.retries ?? defaultRetryPolicy;
    const app = registry.apps.get(run.appId);
    const admission = await options.circuits.admit({
      environmentId: run.scope.environmentId,
      functionId: run.functionId,
      endpoint: app?.url ?? '',
    });
    if (admission.kind === 'wait') return concluded(options.settlement.defer(run, admission.inMs));
    const abort = new AbortController();
    run.lease.onLost((reason) => abort.abort(reason));
    for (let calls = 1; ; calls += 1) {
      const startedMs = performance.now();
      const result = await call(options, run, { app, calls, signal: abort.signal });
      options.metrics.calls.add(1, { mode: 'push', result: result.kind });
      const outcome = {
        endpoint: app?.url ?? '',
        succeeded: result.kind === 'answered',
        probe: admission.probe,
      };
      if (result.kind === 'aborted') return 'over';
      if (result.kind === 'failed') {
        const remainingMs = options.deadlineMs - (performance.now() - startedMs);
        const notBeforeMs = result.mayStillRun ? Math.max(0, Math.ceil(remainingMs)) : 0;
        const failure = { error: result.error, notBeforeMs };
        return concluded(options.settlement.endFailedCall(run, failure, outcome, policy));
      }
      const { records, outcome: end } = result.answer;
      if (end.kind !== 'continue') return concluded(options.settlement.end(run, records, end, outcome));
      const refusal =
        records.length === 0
          ? 'the endpoint wants to go on but recorded nothing'
          : calls >= callsMax
            ? `the endpoint wants to go on after ${callsMax} calls`
            : undefined;
      if (refusal !== undefined) {
        const failure = { error: { name: 'bad_answer', message: refusal } };
        return concluded(
          options.settlement.endFailedCall(run, failure, { ...outcome, succeeded: false }, policy),
        );
      }
      const recorded = await options.settlement.record(run, records);
      if (recorded !== 'settled') return recorded;
    }
  };
}

const answerGraceMs = 2_000;
/** Calls of one activation: more than a run has steps, with retries that follow at once. Beyond, an endpoint goes round in circles. */
const callsMax = 10_000;

async function call(
  options: PushDriverOptions,
  run: ActiveRun,
  { app, calls, signal }: { app: RegisteredApp | undefined; calls: number; signal: AbortSignal },
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
    signingKeys: await options.tenants.signingKeys(run.scope.environmentId),
    trace: run.trace,
    // The SDK answers at the deadline what it has by then: its answer needs a moment to arrive.
    timeoutMs: options.deadlineMs + answerGraceMs,
    signal,
  });
}

async function concluded(settled: Promise<Settled>): Promise<'over' | 'restart'> {
  return (await settled) === 'restart' ? 'restart' : 'over';
}
