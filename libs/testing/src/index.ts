export { eventually } from './eventually.js';
export type { EventuallyOptions } from './eventually.js';
export { freePort, freePorts, isPortFree } from './free-port.js';
export { createManualClock } from './manual-clock.js';
export type { ManualClock } from './manual-clock.js';
export { natsServerProgram } from './nats-binary.js';
export { startNatsCluster } from './nats-cluster.js';
export type { NatsCluster, NatsClusterOptions } from './nats-cluster.js';
export { checkNatsVersion, readNatsGreeting } from './nats-readiness.js';
export type { NatsGreeting } from './nats-readiness.js';
export { natsServerEnv, startNatsServer } from './nats-server.js';
export type {
  NatsClusterMembership,
  NatsOperatorSettings,
  NatsServer,
  NatsServerOptions,
} from './nats-server.js';
export { startPostgres } from './postgres.js';
export type { PostgresServer, PostgresServerOptions } from './postgres.js';
export { createScratch } from './scratch.js';
export type { Scratch } from './scratch.js';
export { startServerProcess } from './server-process.js';
export type { ServerProcess, ServerProcessOptions } from './server-process.js';
export { mountSmallDisk } from './small-disk.js';
export type { SmallDisk } from './small-disk.js';
export {
  migratedDatabase,
  sharedNats,
  sharedPostgres,
  startTestServers,
  stopSharedServers,
  throwAwayPostgres,
} from './servers.js';
export type { SharedPostgres, TestServers } from './servers.js';
