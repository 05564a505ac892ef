/** How much of RESULTS may go. Pure. */
import type { ConsumerState, StreamState } from '@ironflow/jetstream';

export interface TrimState {
  nowMs: number;
  stream: StreamState;
  collector: ConsumerState;
  breaker: ConsumerState;
  /** When the first message was stored that the breaker has not acknowledged; `undefined` when there is none. */
  breakerNextStoredAtMs: number | undefined;
}

export interface TrimLimits {
  maxAgeMs: number;
  maxBytes: number;
  /** How long the breaker may hold back what everybody else is done with. */
  breakerPatienceMs: number;
}

/** No message from here on may go: Postgres does not have it, or the breaker still wants it. */
export function trimCeiling(state: TrimState, limits: TrimLimits): number {
  const accepted = state.collector.ackFloor + 1;
  const isBreakerDone = state.breaker.pending + state.breaker.ackPending === 0;
  const waitsSinceMs = state.breakerNextStoredAtMs ?? state.nowMs;
  if (isBreakerDone || state.nowMs - waitsSinceMs > limits.breakerPatienceMs) return accepted;
  return Math.min(accepted, state.breaker.ackFloor + 1);
}

/** Of a stream that is smaller than usual: the rest is for what Postgres does not have, and a full stream refuses that. */
const keptShareMax = 1 / 8;

/** How much of the stream stays although nobody needs it any more. */
export function bytesKept(stream: StreamState, maxBytes: number): number {
  return Math.min(maxBytes, stream.maxBytes * keptShareMax);
}

/** Where the stream would have to begin to be small enough, taking its messages for equally large. */
export function sizeBound(stream: StreamState, maxBytes: number): number {
  const kept = bytesKept(stream, maxBytes);
  if (stream.bytes <= kept || stream.messages === 0) return stream.firstSequence;
  const excess = Math.ceil((stream.bytes - kept) / (stream.bytes / stream.messages));
  return stream.firstSequence + excess;
}

/** A minute's slack, so that the oldest message does not have to be looked for at every pass. */
export const ageSlackMs = 60_000;

export function hasOutlived(stream: StreamState, maxAgeMs: number, nowMs: number): boolean {
  return stream.firstStoredAtMs !== undefined && nowMs - stream.firstStoredAtMs > maxAgeMs + ageSlackMs;
}
