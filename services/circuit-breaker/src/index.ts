export { createCircuitBreaker } from './circuit-breaker.js';
export type { CircuitBreaker, CircuitBreakerOptions } from './circuit-breaker.js';
export { circuitBreakerService } from './circuit-breaker-service.js';
export { circuitBreakerConfigShape } from './config.js';
