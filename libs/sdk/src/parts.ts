/** What drives functions, without its sockets: for the simulation, which brings the world around it. No part of the package. */
export { createPushCalls } from './push/push-call.js';
export type { PlatformCalls } from './replay/platform-calls.js';
export { createActiveRuns } from './worker/active-runs.js';
export type { ActiveRuns } from './worker/active-runs.js';
