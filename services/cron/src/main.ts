import { runServiceProcess } from '@ironflow/service';
import { cronService } from './cron-service.js';

await runServiceProcess(cronService);
