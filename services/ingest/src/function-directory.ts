/**
 * Whether an environment has a function: from the cached registry, and from Postgres before saying no. A function is
 * found as soon as its registration was answered.
 */
import type { RegistryReader } from '@ironflow/database';
import type { Clock } from '@ironflow/service';

export interface FunctionDirectory {
  has(environmentId: string, functionId: string): Promise<boolean>;
}

export interface FunctionDirectoryOptions {
  registry: RegistryReader;
  clock: Clock;
}

/** Calls of functions that do not exist share a read of the registry, one in so long a time. */
const readIntervalMs = 250;
const environmentsMax = 10_000;

export function createFunctionDirectory({ registry, clock }: FunctionDirectoryOptions): FunctionDirectory {
  const lastReadAtMs = new Map<string, number>();
  /** Reads that have not begun: whoever joins one is answered with what is true after joining. */
  const dueReads = new Map<string, Promise<void>>();

  function freshly(environmentId: string): Promise<void> {
    const due = dueReads.get(environmentId);
    if (due !== undefined) return due;
    const sinceMs = clock.now() - (lastReadAtMs.get(environmentId) ?? 0);
    const read = new Promise<void>((resolve) => {
      clock.setTimeout(
        () => {
          dueReads.delete(environmentId);
          if (lastReadAtMs.size >= environmentsMax) lastReadAtMs.clear();
          lastReadAtMs.set(environmentId, clock.now());
          registry.invalidate(environmentId);
          resolve();
        },
        Math.max(0, readIntervalMs - sinceMs),
      );
    });
    dueReads.set(environmentId, read);
    return read;
  }

  return {
    async has(environmentId, functionId) {
      if ((await registry.get(environmentId)).functions.has(functionId)) return true;
      await freshly(environmentId);
      return (await registry.get(environmentId)).functions.has(functionId);
    },
  };
}
