/**
 * Refused requests until they are written into the audit log: one count for each key, action and code, whatever is sent meanwhile.
 * Pure but for what it holds, which is bounded, for each environment as well, so that none takes the room of the others.
 */
export interface Refusal {
  environmentId: string;
  keyId: string;
  action: string;
  targetKind: string;
  code: string;
  /** Of the last of them. */
  address: string;
  requestId: string;
  count: number;
}

export interface RefusalBook {
  /** Whether there was room for it. */
  add(refusal: Refusal): boolean;
  /** Everything, which is forgotten here. */
  takeAll(): Refusal[];
  readonly isEmpty: boolean;
}

const refusalsMaxDefault = 10_000;
/** Of one environment: its keys times what they are refused. */
const environmentMaxDefault = 100;

export function createRefusalBook({
  refusalsMax = refusalsMaxDefault,
  environmentMax = environmentMaxDefault,
} = {}): RefusalBook {
  const environments = new Map<string, Map<string, Refusal>>();
  let size = 0;
  return {
    add: (refusal) => {
      const { environmentId, keyId, action, code } = refusal;
      const refusals = environments.get(environmentId) ?? new Map<string, Refusal>();
      const key = `${keyId} ${code} ${action}`;
      const before = refusals.get(key);
      if (before === undefined) {
        if (size >= refusalsMax || refusals.size >= environmentMax) return false;
        size += 1;
      }
      refusals.set(key, { ...refusal, count: (before?.count ?? 0) + refusal.count });
      environments.set(environmentId, refusals);
      return true;
    },
    takeAll: () => {
      const all = [...environments.values()].flatMap((refusals) => [...refusals.values()]);
      environments.clear();
      size = 0;
      return all;
    },
    get isEmpty() {
      return size === 0;
    },
  };
}
