export { executorService } from './executor-service.js';
