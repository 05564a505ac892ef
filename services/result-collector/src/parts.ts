/** What decides in this service beside the service itself: for the simulation, which brings the world around it. */
export { createTrimmer } from './trimmer.js';
export type { Trimmer } from './trimmer.js';
