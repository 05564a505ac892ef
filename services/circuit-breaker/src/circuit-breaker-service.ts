/** How the circuit breaker is configured and wired. */
import { createForcedBreakerList } from '@ironflow/database';
import type { ServiceDefinition } from '@ironflow/service';
import { createCircuitBreaker } from './circuit-breaker.js';
import { circuitBreakerConfigShape, toCircuitPolicy } from './config.js';

export const circuitBreakerService: ServiceDefinition<typeof circuitBreakerConfigShape> = {
  name: 'circuit-breaker',
  description: 'Opens and closes the circuit breakers of functions’ endpoints',
  databaseRole: 'service',
  configShape: circuitBreakerConfigShape,
  start: async ({ jetstream, database, logger, metrics }, config) => {
    const store = createForcedBreakerList(database);
    const policy = toCircuitPolicy(config);
    const breaker = createCircuitBreaker({ jetstream, store, logger, metrics, policy });
    await breaker.start();
    return breaker;
  },
};
