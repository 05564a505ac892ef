export { schedulerConfigShape } from './config.js';
export { createScheduler } from './scheduler.js';
export type { Scheduler, SchedulerOptions } from './scheduler.js';
export { schedulerService } from './scheduler-service.js';
