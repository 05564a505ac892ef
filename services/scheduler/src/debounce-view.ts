/**
 * SYS_debounce_state: which runs debounces hold, for whoever wants to watch. A view of what Postgres has: changes are shown after
 * their commit, one after the other, and all of it again after NATS was away, since it may have been wiped.
 */
import type { FlowState, FlowStateKey, FlowStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Bucket, Connection } from '@ironflow/jetstream';
import type { DebounceState } from '@ironflow/schema';
import type { Logger } from '@ironflow/service';

export interface DebounceView {
  start(): void;
  /** Never rejects. */
  show(
    environmentId: string,
    changes: { states: readonly FlowState[]; removed: readonly FlowStateKey[] },
  ): void;
  stop(): Promise<void>;
}

export interface DebounceViewOptions {
  store: Pick<FlowStore, 'debounces'>;
  bucket: Pick<Bucket, 'put' | 'delete'>;
  connection: Pick<Connection, 'onReconnect'>;
  logger: Logger;
}

/** Changes that were not shown yet; the rest is shown when all of it is. */
const waitingMax = 10_000;
const shownAtOnceMax = 1_000;

export function createDebounceView({ store, bucket, connection, logger }: DebounceViewOptions): DebounceView {
  let work = Promise.resolve();
  let waiting = 0;
  let isStopped = false;
  let forget = (): void => undefined;

  const enqueue = (task: () => Promise<unknown>): void => {
    if (isStopped || waiting >= waitingMax) return;
    waiting += 1;
    work = work
      .then(async () => {
        if (!isStopped) await task();
      })
      .catch((error: unknown) => logger.debug({ reason: messageOf(error) }, 'a debounce cannot be shown now'))
      .finally(() => {
        waiting -= 1;
      });
  };
  const put = (environmentId: string, state: FlowState): Promise<void> => {
    const { functionId, runId = '', sinceMs = 0, dueAtMs = 0 } = state;
    const shown: DebounceState = { functionId, runId, sinceMs, dueAtMs };
    return bucket.put(keyOf(environmentId, state), JSON.stringify(shown));
  };
  const showAll = (): void =>
    enqueue(async () => {
      for (const { environmentId, state } of await store.debounces(shownAtOnceMax))
        await put(environmentId, state);
    });

  return {
    start: () => {
      forget = connection.onReconnect(showAll);
      showAll();
    },
    show: (environmentId, { states, removed }) => {
      for (const state of states) if (state.rule === 'debounce') enqueue(() => put(environmentId, state));
      for (const key of removed) {
        if (key.rule === 'debounce') enqueue(() => bucket.delete(keyOf(environmentId, key)));
      }
    },
    stop: async () => {
      isStopped = true;
      forget();
      await work;
    },
  };
}

function keyOf(environmentId: string, { functionId, keyHash }: FlowStateKey): string {
  return `${environmentId}.${functionId}.${keyHash}`;
}
