export { startFleet } from './fleet.js';
export type { Fleet, FleetMember } from './fleet.js';
export { localEnvironment, startPlatform, uniqueSlug } from './platform.js';
export type { Platform, PlatformOptions } from './platform.js';
export { serviceNames } from './services.js';
export type { ServiceName } from './services.js';
export { runMigrations, runPlatform } from './run-platform.js';
export type { RunPlatformOptions } from './run-platform.js';
