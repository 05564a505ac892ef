import { runServiceProcess } from '@ironflow/service';
import { circuitBreakerService } from './circuit-breaker-service.js';

await runServiceProcess(circuitBreakerService);
