export { simulate } from './simulation.js';
export type { SimulationOptions, SimulationResult } from './simulation.js';
