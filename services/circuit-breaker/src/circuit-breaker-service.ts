/** How the circuit breaker is configured and wired. */
import type { ServiceDefinition } from '@ironflow/service';
import { createCircuitBreaker } from './circuit-breaker.js';
import { circuitBreakerConfigShape, toCircuitPolicy } from './config.js';

export const circuitBreakerService: ServiceDefinition<typeof circuitBreakerConfigShape> = {
  name: 'circuit-breaker',
  description: 'Opens and closes the circuit breakers of functions’ endpoints',
  databaseRole: 'service',
  configShape: circuitBreakerConfigShape,
  start: async ({ jetstream, logger, metrics }, config) => {
    const breaker = createCircuitBreaker({ jetstream, logger, metrics, policy: toCircuitPolicy(config) });
    await breaker.start();
    return breaker;
  },
};
