import { runServiceProcess } from '@ironflow/service';
import { ingestService } from './ingest-service.js';

await runServiceProcess(ingestService);
