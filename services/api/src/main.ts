import { runServiceProcess } from '@ironflow/service';
import { apiService } from './api-service.js';

await runServiceProcess(apiService);
