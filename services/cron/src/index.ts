export { cronConfigShape } from './config.js';
export { createCron } from './cron.js';
export type { CronOptions, CronService } from './cron.js';
export { cronService } from './cron-service.js';
