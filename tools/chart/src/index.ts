export { openHelm } from './helm.js';
export type { Helm, Values } from './helm.js';
