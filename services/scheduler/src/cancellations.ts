/**
 * Runs that an event cancels: those under way of functions whose `cancelOn` names it, and for which `match` and `if` hold. A
 * run whose own event came later is not meant; one whose event came before, but is routed later, is: as long as there may be such
 * ones, the event is asked again.
 */
import type { RegistryReader, RunToCancel, SchedulerStore } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import { matchValueAt } from '@ironflow/schema';
import type { CancelOn, StoredEvent } from '@ironflow/schema';
import type { Admission } from './admission.js';
import type { Conditions } from './condition.js';
import { cancellersOf } from './trigger-index.js';
import { awaitedEvent, judgeEvent } from './wait-resolution.js';
import type { AwaitedEvent, EventVerdict } from './wait-resolution.js';

export interface CancellationsOptions {
  store: Pick<SchedulerStore, 'runsToCancel' | 'requestStopOf' | 'isUnroutedBefore'>;
  registries: RegistryReader;
  conditions: Conditions;
  notices: Pick<Notices, 'publishStop'>;
  admission: Pick<Admission, 'admit'>;
}

export interface Cancellations {
  /** Whether every run is there and could be judged; asking again asks no run a second time. */
  cancelBy(event: StoredEvent): Promise<boolean>;
  /** Asks these runs to stop and sees to it that somebody ends them. */
  stop(runIds: readonly string[]): Promise<void>;
}

/** Each comes with the event that started it, up to 512 KiB. */
const pageMax = 50;

export function createCancellations(options: CancellationsOptions): Cancellations {
  const { store, conditions, notices, admission } = options;

  const stop = async (runIds: readonly string[]): Promise<void> => {
    const asked = await store.requestStopOf(runIds);
    for (const run of asked) notices.publishStop(run);
    if (asked.length > 0) void admission.admit(asked, { replacing: true });
  };

  const cancelOf = async (functionId: string, cancelOn: readonly CancelOn[], awaited: AwaitedEvent) => {
    const { event } = awaited;
    let isDecided = true;
    let afterRunId: string | undefined;
    for (;;) {
      const runs = await store.runsToCancel({ event, functionId, afterRunId, limit: pageMax });
      const verdicts = runs.map((run) => judgeRun(run, cancelOn, { awaited, conditions }));
      if (verdicts.includes('undecided')) isDecided = false;
      const meant = runs.filter((_run, index) => verdicts[index] === 'resolves');
      await stop(meant.map(({ runId }) => runId));
      if (runs.length < pageMax) return isDecided;
      afterRunId = runs.at(-1)!.runId;
    }
  };
  return {
    stop,
    cancelBy: async (event) => {
      const registry = await options.registries.get(event.scope.environmentId);
      const cancellers = cancellersOf(registry, event.name);
      if (cancellers.length === 0) return true;
      const awaited = awaitedEvent(event);
      // Before the runs are read: whatever is routed from then on is among them.
      let isDecided = !(await store.isUnroutedBefore(event));
      for (const { functionId, cancelOn } of cancellers) {
        if (!(await cancelOf(functionId, cancelOn, awaited))) isDecided = false;
      }
      return isDecided;
    },
  };
}

/** One that holds decides, also past one that could not be judged. */
function judgeRun(
  { trigger }: RunToCancel,
  cancelOn: readonly CancelOn[],
  { awaited, conditions }: { awaited: AwaitedEvent; conditions: Conditions },
): Exclude<EventVerdict, object> {
  const verdicts = cancelOn.map(({ match, if: condition }) => {
    const path = match?.slice('data.'.length);
    if (path === undefined) return judgeEvent({ trigger, condition, match: undefined }, awaited, conditions);
    const value = matchValueAt(JSON.parse(trigger.data), path);
    if (value === undefined) return 'not_meant';
    return judgeEvent({ trigger, condition, match: { path, value } }, awaited, conditions);
  });
  if (verdicts.includes('resolves')) return 'resolves';
  return verdicts.includes('undecided') ? 'undecided' : 'not_meant';
}
