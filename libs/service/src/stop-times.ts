/** How long the stop of a service may take: its HTTP server outlives what it drains, its process outlives both. Pure. */
export interface StopTimes {
  /** When the HTTP server cuts what is left. */
  httpDrainTimeoutMs: number;
  /** When the process gives up waiting and exits. */
  stopTimeoutMs: number;
}

const httpDrainTimeoutMsDefault = 10_000;
/** Kubernetes kills after 30 s. */
const stopTimeoutMsMin = 25_000;
/** For what was handed back at the very end to reach the other side before its connection is cut. */
const httpBeyondDrainMs = 3_000;
const processBeyondDrainMs = 5_000;

/** Without a drain time of its own, a service needs none beyond its requests. */
export function stopTimes(drainTimeoutMs: number | undefined): StopTimes {
  if (drainTimeoutMs === undefined) {
    return { httpDrainTimeoutMs: httpDrainTimeoutMsDefault, stopTimeoutMs: stopTimeoutMsMin };
  }
  return {
    httpDrainTimeoutMs: drainTimeoutMs + httpBeyondDrainMs,
    stopTimeoutMs: Math.max(stopTimeoutMsMin, drainTimeoutMs + processBeyondDrainMs),
  };
}
