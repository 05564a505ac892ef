/** The life of an environment: active, archived, deleted with a grace, erased. Pure. */
import type { TenantState } from '@ironflow/schema';

export interface TenantTimes {
  archivedAt: Date | null;
  /** Deleted: it can be restored until then. */
  eraseAfter: Date | null;
  erasedAt: Date | null;
}

export type TenantAction = 'archive' | 'restore' | 'delete';

export function tenantStateOf({ archivedAt, eraseAfter, erasedAt }: TenantTimes): TenantState {
  if (erasedAt !== null) return 'erased';
  if (eraseAfter !== null) return 'deleting';
  return archivedAt === null ? 'active' : 'archived';
}

/** `ended`: what is erased, or may be by now, stays so. `unchanged`: it is as asked for. */
export function planOf(
  action: TenantAction,
  times: TenantTimes,
  now: Date,
): 'change' | 'unchanged' | 'ended' {
  const state = tenantStateOf(times);
  if (state === 'erased' || (times.eraseAfter !== null && times.eraseAfter <= now)) return 'ended';
  // A grace is set anew.
  if (action === 'delete') return 'change';
  if (action === 'restore') return state === 'active' ? 'unchanged' : 'change';
  return state === 'active' ? 'change' : 'unchanged';
}
