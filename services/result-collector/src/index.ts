export { resultCollectorConfigShape } from './config.js';
export { createResultCollector } from './result-collector.js';
export type { ResultCollector, ResultCollectorOptions } from './result-collector.js';
export { resultCollectorService } from './result-collector-service.js';
