/** Whether a request is within the quotas of its environment. Rates are asked by the generic cell rate algorithm of libs/schema/src/rate.ts. Pure. */
import type { QuotaUse } from '@ironflow/database';
import { askRate, quotaBurstSeconds } from '@ironflow/schema';
import type { QuotaName, Quotas } from '@ironflow/schema';

export type QuotaVerdict =
  /** `nextAtMs` is what there is to remember. */
  | { kind: 'in'; nextAtMs: number }
  /** Without a time no waiting helps: what was sent is too large. */
  | { kind: 'out'; quota: QuotaName; retryAfterSeconds?: number };

export interface QuotaSituation {
  quotas: Quotas;
  use: QuotaUse;
  /** Among which the rates are divided: a request is answered by any of them. */
  replicas: number;
  atMs: number;
}

/** How long what is stored or waits takes to become less, at best. */
const useRetrySeconds = 5;

export function askEvents(
  { quotas, use, ...situation }: QuotaSituation,
  nextAtMs: number | undefined,
  events: { count: number; bytesMax: number },
): QuotaVerdict {
  if (events.bytesMax > quotas.payloadBytes) return { kind: 'out', quota: 'payloadBytes' };
  for (const quota of ['queuedRuns', 'storageBytes'] as const) {
    if (use[quota] >= quotas[quota]) return { kind: 'out', quota, retryAfterSeconds: useRetrySeconds };
  }
  return askPerSecond('eventsPerSecond', { quotas, ...situation }, nextAtMs, events.count);
}

export function askRequest(
  situation: Omit<QuotaSituation, 'use'>,
  nextAtMs: number | undefined,
): QuotaVerdict {
  return askPerSecond('requestsPerSecond', situation, nextAtMs, 1);
}

function askPerSecond(
  quota: 'eventsPerSecond' | 'requestsPerSecond',
  { quotas, replicas, atMs }: Omit<QuotaSituation, 'use'>,
  nextAtMs: number | undefined,
  count: number,
): QuotaVerdict {
  const limit = quotas[quota] / replicas;
  const rate = { limit, periodMs: 1_000, burst: Math.max(1, limit * quotaBurstSeconds) };
  const verdict = askRate(rate, nextAtMs, atMs, count);
  if (verdict.kind === 'in') return verdict;
  const retryAfterSeconds = Math.max(1, Math.ceil((verdict.againAtMs - atMs) / 1_000));
  return { kind: 'out', quota, retryAfterSeconds };
}
