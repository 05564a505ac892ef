import { runServiceProcess } from '@ironflow/service';
import { resultCollectorService } from './result-collector-service.js';

await runServiceProcess(resultCollectorService);
