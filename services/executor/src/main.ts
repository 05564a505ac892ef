import { runServiceProcess } from '@ironflow/service';
import { executorService } from './executor-service.js';

await runServiceProcess(executorService);
