/** What decides in this service, without its sockets: for the simulation, which brings the world around it. */
export { createActivationDriver } from './activation-driver.js';
export { createCallAdmission } from './call-admission.js';
export type { ExecutorMetrics } from './executor-metrics.js';
export { createIntake } from './intake.js';
export { createLeaseKeeper } from './lease.js';
export { createPullDriver } from './pull-driver.js';
export { createPushDriver } from './push-driver.js';
export type { PushCaller, PushResult } from './push-call.js';
export { createSettlement } from './settlement.js';
export { createStopRequests } from './stop-requests.js';
export { createWorkerConnection } from './worker-connection.js';
export type { WorkerConnection } from './worker-connection.js';
