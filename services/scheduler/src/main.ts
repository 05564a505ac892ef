/** The process of the scheduler. */
import { runServiceProcess } from '@ironflow/service';
import { schedulerService } from './scheduler-service.js';

await runServiceProcess(schedulerService);
