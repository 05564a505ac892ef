/** JSON lines on stdout through pino. Says what may never appear in a line: credentials, payloads, rows of tenants. */
import { isNativeError } from 'node:util/types';
import { parseTraceparent, runSpanId } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import pino from 'pino';
import type { DestinationStream, Logger } from 'pino';
import { platformVersion } from './platform-version.js';

export type { Logger } from 'pino';

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LoggerOptions {
  service: string;
  /** Default: the platform's. */
  version?: string;
  /** Default `info`. */
  level?: LogLevel;
  /** Fields of every line. */
  base?: Record<string, string>;
  /** Default stdout, written synchronously so that the last lines before an exit are not lost. */
  destination?: DestinationStream;
}

export function createLogger(options: LoggerOptions): Logger {
  return pino(
    {
      level: options.level ?? 'info',
      base: { service: options.service, version: options.version ?? platformVersion, ...options.base },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        bindings: (fields) => censor(fields, censorDepthMax),
        log: (fields) => censor(fields, censorDepthMax),
      },
      serializers: { err: describeThrown, error: describeThrown },
    },
    options.destination ?? pino.destination({ fd: 1, sync: true }),
  );
}

export interface LogContext {
  traceId?: string | undefined;
  spanId?: string | undefined;
  runId?: string | undefined;
  project?: string | undefined;
  env?: string | undefined;
}

/** The fields by which lines are joined with traces; absent ones are left out. */
export function childLogger(logger: Logger, context: LogContext): Logger {
  const fields: Record<string, string> = {};
  if (context.traceId !== undefined) fields['trace_id'] = context.traceId;
  if (context.spanId !== undefined) fields['span_id'] = context.spanId;
  if (context.runId !== undefined) fields['run_id'] = context.runId;
  if (context.project !== undefined) fields['project'] = context.project;
  if (context.env !== undefined) fields['env'] = context.env;
  return logger.child(fields);
}

/** Of a line about a run: the span is that of the whole run, whose id is known before it is written. */
export function runContext(run: {
  runId: string;
  scope?: Pick<Scope, 'project' | 'env'> | undefined;
  traceparent?: string | undefined;
}): LogContext {
  const { runId, scope } = run;
  const traceId = parseTraceparent(run.traceparent)?.traceId;
  const spanId = traceId === undefined ? undefined : runSpanId(runId);
  return { traceId, spanId, runId, project: scope?.project, env: scope?.env };
}

const secretNames = new Set([
  'authorization',
  'cookie',
  'key',
  'apiKey',
  'signingKey',
  'operatorKey',
  'masterKey',
  'secret',
  'token',
  'password',
  'IRONFLOW_MASTER_KEY',
  'IRONFLOW_OPERATOR_KEY',
  'DATABASE_URL',
  'TENANT_DATABASE_URL',
  'NATS_USER',
  'NATS_PASSWORD',
  'NATS_TOKEN',
]);

/** Reaches the headers of a request that was logged whole. */
const censorDepthMax = 3;

/** By name and by hand: pino's own redaction with as many paths costs ten microseconds a line, this less than one. */
function censor(fields: Record<string, unknown>, depth: number): Record<string, unknown> {
  let censored = fields;
  for (const name in fields) {
    const value = fields[name];
    const shown = secretNames.has(name) ? '[redacted]' : censorInside(value, depth);
    if (shown === value) continue;
    if (censored === fields) censored = { ...fields };
    censored[name] = shown;
  }
  return censored;
}

function censorInside(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || depth <= 1) return value;
  // Errors have a serializer that chooses what is shown.
  return Array.isArray(value) || isError(value) ? value : censor(value as Record<string, unknown>, depth - 1);
}

interface ErrorDescription {
  type: string;
  message: string;
  code?: string;
  field?: string;
  stack?: string;
  cause?: ErrorDescription;
}

/** A cause of a cause of a cause is the last that helps. */
const causeDepthMax = 4;

/** Chosen fields only: database errors, for one, carry the values of the row in `detail` and `where`. */
function describeThrown(thrown: unknown): ErrorDescription {
  return describeError(thrown, causeDepthMax);
}

function describeError(thrown: unknown, causesLeft: number): ErrorDescription {
  if (!(thrown instanceof Error || isNativeError(thrown)))
    return { type: typeof thrown, message: 'not an Error' };
  const { code, field, cause } = thrown as Error & { code?: unknown; field?: unknown };
  return {
    type: thrown.name,
    message: thrown.message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof field === 'string' ? { field } : {}),
    ...(thrown.stack === undefined ? {} : { stack: thrown.stack }),
    ...(cause === undefined || causesLeft === 0 ? {} : { cause: describeError(cause, causesLeft - 1) }),
  };
}

/** Also those of another realm, as jest's modules are to Node. */
function isError(value: unknown): value is Error {
  return value instanceof Error || isNativeError(value);
}
