/**
 * What requests leave in the audit log. A route that has `audit` is written when its change has succeeded and before it is answered, so that
 * nobody is told of a change that the log does not know; what is refused is counted, and written once a minute (refusals.ts).
 * A service calls `watchAudit` where its routes are, and begins each of them with `enterRoute`.
 */
import type { AuditStore, NewAuditEntry } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import { auditedFields } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import type { FastifyRequest } from 'fastify';
import type { Clock, TimerHandle } from './clock.js';
import type { HttpApp } from './http.js';
import type { Stoppable } from './lifecycle.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import { createRefusalBook } from './refusals.js';
import type { Refusal } from './refusals.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `enterRoute`. */
    audit: AuditNote | null;
  }
}

/** Of one request, until it is answered. */
interface AuditNote extends Told {
  route: Route;
  fields: string[];
  isWritten: boolean;
}

/** What only a handler knows. */
export interface Told {
  /** Where no key says so; in the log of each. */
  environmentIds?: readonly string[];
  actor?: NewAuditEntry['actor'];
  targetId?: string;
  /** Counts and ids; never a value that was sent. */
  details?: NewAuditEntry['details'];
}

export interface AuditTrailOptions {
  store: Pick<AuditStore, 'append'>;
  logger: Logger;
  metrics: Metrics;
  clock: Clock;
}

export interface AuditTrail extends Stoppable {
  write(request: FastifyRequest): Promise<void>;
  countRefusal(request: FastifyRequest, error: unknown): void;
  /** What was counted is written first. */
  stop(): Promise<void>;
}

/** The first `onRequest` of a route. */
export function enterRoute(route: Route): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    request.audit = { route, fields: [], isWritten: false };
  };
}

export function tellAudit(request: FastifyRequest, told: Told): void {
  if (request.audit !== null) Object.assign(request.audit, told);
}

/** For the routes of this scope; decorates its requests. */
export function watchAudit(app: HttpApp, trail: AuditTrail): void {
  app.decorateRequest('audit', null);
  app.addHook('preValidation', (request, _reply, done) => {
    const { audit } = request;
    // As it was sent: validation adds what has a default.
    if (audit?.route.audit !== undefined) audit.fields = auditedFields(audit.route.body, request.body);
    done();
  });
  app.addHook('onSend', (request, reply, payload, done) => {
    if (!isToBeWritten(request, reply.statusCode)) return done();
    trail.write(request).then(
      () => done(null, payload),
      (error: Error) => done(error),
    );
  });
  app.addHook('onError', (request, _reply, error, done) => {
    trail.countRefusal(request, error);
    done();
  });
}

function isToBeWritten({ audit, body }: FastifyRequest, status: number): boolean {
  if (audit?.route.audit === undefined || audit.isWritten || status >= 400) return false;
  return (body as { dryRun?: unknown } | null | undefined)?.dryRun !== true;
}

/** How long refusals are gathered. */
const gatherMs = 60_000;

export function createAuditTrail({ store, logger, metrics, clock }: AuditTrailOptions): AuditTrail {
  const unwritten = metrics.counter('audit_unwritten_total', 'What the audit log should tell and does not');
  const refusals = createRefusalBook();
  let timer: TimerHandle | undefined;
  let flushing: Promise<void> = Promise.resolve();

  async function flush(): Promise<void> {
    timer = undefined;
    for (const refusal of refusals.takeAll()) {
      await store.append(refusal.environmentId, refusalEntry(refusal)).catch((error: unknown) => {
        logger.warn({ reason: messageOf(error) }, 'refused requests are not in the audit log yet');
        count(refusal);
      });
    }
  }

  function count(refusal: Refusal): void {
    if (!refusals.add(refusal)) return unwritten.add(refusal.count);
    timer ??= clock.setTimeout(() => {
      flushing = flushing.then(flush);
    }, gatherMs);
  }

  return {
    write: async (request) => {
      // Also when it fails: the answer that says so goes the same way.
      request.audit!.isWritten = true;
      const written = entryOf(request);
      if (written === undefined) return;
      const { environmentIds, entry } = written;
      for (const environmentId of environmentIds) {
        try {
          await store.append(environmentId, entry);
        } catch (error) {
          unwritten.add();
          const about = { environment_id: environmentId, action: entry.action, request_id: entry.requestId };
          logger.error({ ...about, reason: messageOf(error) }, 'what was done is not in the audit log');
          throw auditUnavailable(error);
        }
      }
    },
    countRefusal: (request, error) => {
      const refusal = refusalOf(request, error);
      if (refusal !== undefined) count(refusal);
    },
    stop: async () => {
      await flushing;
      timer?.cancel();
      await flush();
      // What could not be written has armed it again.
      timer?.cancel();
      for (const lost of refusals.takeAll()) unwritten.add(lost.count);
    },
  };
}

function auditUnavailable(cause: unknown): IronflowError {
  const message = 'this was done, but could not be written into the audit log';
  return new IronflowError('unavailable', 'audit_unavailable', message, { retryAfterSeconds: 1, cause });
}

/** Undefined where no environment is known: somebody without a key was told that there is nothing. */
function entryOf(
  request: FastifyRequest,
): { environmentIds: readonly string[]; entry: NewAuditEntry } | undefined {
  const { route, fields, details, ...told } = request.audit!;
  const own = request.principal?.scope.environmentId;
  const environmentIds = told.environmentIds ?? (own === undefined ? undefined : [own]);
  const actor = told.actor ?? keyOf(request);
  if (environmentIds === undefined || actor === undefined) return undefined;
  const id = told.targetId ?? targetIdOf(route, request.params);
  const entry: NewAuditEntry = {
    actor,
    action: route.audit!,
    target: { kind: targetKindOf(route), ...(id === undefined ? {} : { id }) },
    address: request.ip,
    requestId: request.id,
    outcome: 'done',
    count: 1,
    details: { ...(fields.length === 0 ? {} : { fields }), ...details },
  };
  return { environmentIds, entry };
}

function keyOf({ principal }: FastifyRequest): NewAuditEntry['actor'] | undefined {
  return principal === null ? undefined : { kind: 'key', id: principal.keyId };
}

function targetKindOf({ path }: Route): string {
  return path.split('/')[2]!;
}

/** Where no key is asked for, what is in the path is what one is believed for. */
function targetIdOf({ role }: Route, params: unknown): string | undefined {
  if (role === 'none') return undefined;
  const parts = Object.values((params ?? {}) as Record<string, string>);
  return parts.length === 0 ? undefined : parts.join('/');
}

const refused: ReadonlySet<string> = new Set(['unauthenticated', 'forbidden', 'not_found', 'too_many']);

/** Of somebody whose key is known, for what they may not do, what is not theirs, or doing it too often. */
function refusalOf(request: FastifyRequest, error: unknown): Refusal | undefined {
  const { audit, principal } = request;
  if (!(error instanceof IronflowError) || !refused.has(error.category)) return undefined;
  if (audit === null || audit === undefined || principal === null) return undefined;
  const { route } = audit;
  return {
    environmentId: principal.scope.environmentId,
    keyId: principal.keyId,
    action: route.audit ?? `${route.method} ${route.path}`,
    targetKind: targetKindOf(route),
    code: error.code,
    address: request.ip,
    requestId: request.id,
    count: 1,
  };
}

function refusalEntry(refusal: Refusal): NewAuditEntry {
  return {
    actor: { kind: 'key', id: refusal.keyId },
    action: refusal.action,
    target: { kind: refusal.targetKind },
    address: refusal.address,
    requestId: refusal.requestId,
    outcome: 'refused',
    code: refusal.code,
    count: refusal.count,
    details: {},
  };
}
