export { createAuditTrail, enterRoute, tellAudit, watchAudit } from './audit-trail.js';
export type { AuditTrail, AuditTrailOptions, Told } from './audit-trail.js';
export { authenticate, bearerOf, principalOf, requirePrincipal } from './authentication.js';
export { createKeyAccess } from './key-access.js';
export type { KeyAccess, KeyAccessOptions } from './key-access.js';
export { createBatcher } from './batcher.js';
export type { Batcher, BatcherOptions } from './batcher.js';
export { systemClock } from './clock.js';
export type { Clock, TimerHandle } from './clock.js';
export { baseConfigShape, loadConfig, masterKeyConfigShape, tenantDatabaseConfigShape } from './config.js';
export { createHealth } from './health.js';
export type { CheckResult, Health, HealthOptions, Readiness } from './health.js';
export { createHttpServer } from './http.js';
export type { HttpApp, HttpServer, HttpServerOptions, UpgradeHandler } from './http.js';
export { invalidInput } from './invalid-input.js';
export { createLifecycle } from './lifecycle.js';
export type { Lifecycle, Stoppable } from './lifecycle.js';
export { childLogger, createLogger, logLevels, runContext } from './logger.js';
export type { LogContext, Logger, LoggerOptions, LogLevel } from './logger.js';
export { createMetrics, durationBucketsSeconds, renderMetrics } from './metrics.js';
export type {
  Counter,
  Histogram,
  Labels,
  LabelsOf,
  MetricFamily,
  Metrics,
  MetricsOptions,
  Observation,
  Observe,
} from './metrics.js';
export { natsLoginOf, natsServersOf } from './nats-login.js';
export type { NatsServers } from './nats-login.js';
export { platformVersion } from './platform-version.js';
export { createQuotaKeeper, watchQuotas } from './quotas.js';
export type { QuotaKeeper } from './quotas.js';
export { runService } from './run-service.js';
export type { RunServiceOptions, ServiceProcess } from './run-service.js';
export type { RecordedSpan, SpanAttributes, SpanKind, SpanLink } from './span-encoding.js';
export { refuseUnstorable } from './unstorable.js';
export { createSpanRecorder } from './telemetry.js';
export type { SpanRecorder, SpanRecorderOptions } from './telemetry.js';
export {
  readServiceConfig,
  runServiceProcess,
  serviceConfigShape,
  serviceVariables,
  startService,
} from './service-process.js';
export { stopTimes } from './stop-times.js';
export type { StopTimes } from './stop-times.js';
export type { ServiceDefinition, ServiceRuntime, StartedService, StartOptions } from './service-process.js';
