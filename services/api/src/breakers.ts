/**
 * Circuit breakers as an operator sees and holds them. A state is written by compare-and-set into the bucket that every executor
 * watches; what an operator forces open is in Postgres first, from which the circuit-breaker service restores a bucket that
 * was lost.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Authenticator, ForcedBreakerStore } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import type { Bucket, Notices } from '@ironflow/jetstream';
import {
  circuitId,
  circuitKey,
  circuitKeysOf,
  circuitStateSchema,
  closedCircuit,
  defaultCircuitPolicy,
  forcedOpen,
  forcedRemaining,
  limits,
  routes,
} from '@ironflow/schema';
import type { Breaker, CircuitChange, CircuitParts, CircuitState } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { Counter, HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { serve } from './serve-route.js';

export interface BreakersOptions {
  authenticator: Authenticator;
  circuits: Pick<Bucket, 'get' | 'entries' | 'create' | 'update'>;
  forcedBreakers: ForcedBreakerStore;
  /** Of what operators did. */
  breakerActions: Pick<Counter, 'add'>;
  notices: Pick<Notices, 'publishCircuit'>;
  now: () => Date;
}

export function addBreakers(app: HttpApp, options: BreakersOptions): void {
  const { circuits, forcedBreakers, now } = options;
  serve(app, options, routes.listBreakers, async (request) => {
    const { environmentId } = principalOf(request).scope;
    const { state, function: functionId } = request.query;
    const max = limits.breakersListedMax;
    const entries = await served(() => circuits.entries(circuitKeysOf(environmentId), max + 1));
    const nowMs = now().getTime();
    const breakers = entries
      .slice(0, max)
      .flatMap(({ value }) => parseState(value) ?? [])
      // The key says so as well; nothing of a neighbour is shown whatever is in there.
      .filter((one) => one.environmentId === environmentId)
      .filter(
        (one) => (state ?? one.state) === one.state && (functionId ?? one.functionId) === one.functionId,
      )
      .map((one) => toBreaker(one, nowMs));
    const place = ({ functionId: id, endpoint }: Breaker): string => `${id} ${endpoint}`;
    breakers.sort((a, b) => (place(a) < place(b) ? -1 : 1));
    return { breakers, isComplete: entries.length <= max };
  });
  serve(app, options, routes.getBreaker, async (request) => {
    const parts = await partsOf(options, request, request.query.endpoint);
    const entry = await served(() => circuits.get(circuitKey(parts)));
    const nowMs = now().getTime();
    const state = entry === undefined ? undefined : parseState(entry.value);
    return toBreaker(state ?? closedCircuit(parts, nowMs), nowMs);
  });
  serve(app, options, routes.openBreaker, async (request) => {
    const parts = await partsOf(options, request, request.body?.endpoint);
    const forced = await forcedBreakers.force(parts, request.body?.forMs);
    if (forced === 'too_many') {
      const message = `${limits.forcedBreakersMax} breakers of this environment are forced open: reset one first`;
      throw new IronflowError('conflict', 'too_many_forced_breakers', message);
    }
    return write(options, request, {
      parts,
      change: 'forced',
      next: (state) => forcedOpen(state, parts, forced),
    });
  });
  serve(app, options, routes.resetBreaker, async (request) => {
    const parts = await partsOf(options, request, request.body?.endpoint);
    await forcedBreakers.release(parts);
    const nowMs = now().getTime();
    return write(options, request, { parts, change: 'reset', next: () => closedCircuit(parts, nowMs) });
  });
}

/** Whom a request means: a function that there is, at the endpoint at which it is called now unless it names another. */
async function partsOf(
  { forcedBreakers }: BreakersOptions,
  request: FastifyRequest<{ Params: { id: string } }>,
  endpoint: string | undefined,
): Promise<CircuitParts> {
  const { environmentId } = principalOf(request).scope;
  const functionId = request.params.id;
  const present = await forcedBreakers.endpointOf(environmentId, functionId);
  if (present === undefined) {
    const message = 'there is no function of that id in this environment';
    throw new IronflowError('not_found', 'function_not_found', message);
  }
  return { environmentId, functionId, endpoint: endpoint ?? present };
}

interface Change {
  parts: CircuitParts;
  change: CircuitChange;
  next: (state: CircuitState | undefined) => CircuitState;
}

/** A write loses only to another that got through: so many in a row are a storm. */
const attemptsMax = 20;
const conflictPauseMs = 5;

async function write(
  { circuits, breakerActions, notices, now }: BreakersOptions,
  request: FastifyRequest,
  { parts, change, next }: Change,
): Promise<Breaker> {
  const key = circuitKey(parts);
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    const written = await served(async () => {
      const entry = await circuits.get(key);
      const state = next(entry === undefined ? undefined : parseState(entry.value));
      const text = JSON.stringify(state);
      const isWritten = await (entry === undefined
        ? circuits.create(key, text)
        : circuits.update(key, text, entry.revision));
      return isWritten ? state : undefined;
    });
    if (written === undefined) {
      // Randomly, or those that met once would meet again.
      await delay(conflictPauseMs * attempt * Math.random());
      continue;
    }
    const atMs = now().getTime();
    const { scope } = principalOf(request);
    const { functionId } = parts;
    breakerActions.add(1, { change });
    notices.publishCircuit({ scope, functionId, circuitId: circuitId(parts), change, atMs });
    return toBreaker(written, atMs);
  }
  throw unavailable('it is written by others all the time');
}

function toBreaker(state: CircuitState, nowMs: number): Breaker {
  const { functionId, endpoint, consecutiveFailures, calls, failures, openedAtMs, probe, forced } = state;
  const isForced = forced !== undefined && forcedRemaining(forced, nowMs) > 0;
  const openedMs = forced?.sinceMs ?? openedAtMs;
  return {
    functionId,
    endpoint,
    state: state.state,
    ...(isForced ? { forced: { since: timeOf(forced.sinceMs), ...untilOf(forced.untilMs) } } : {}),
    consecutiveFailures,
    calls,
    failures,
    ...(openedMs === undefined || state.state === 'closed' ? {} : { openedAt: timeOf(openedMs) }),
    ...probeFromOf(state),
    ...(probe === undefined ? {} : { probeSince: timeOf(probe.startedAtMs) }),
  };
}

function untilOf(untilMs: number | undefined): { until?: string } {
  return untilMs === undefined ? {} : { until: timeOf(untilMs) };
}

/** None of one that is open until it is reset. */
function probeFromOf({ state, forced, openedAtMs, openMs }: CircuitState): { probeFrom?: string } {
  if (state !== 'open') return {};
  if (forced !== undefined) return forced.untilMs === undefined ? {} : { probeFrom: timeOf(forced.untilMs) };
  return openedAtMs === undefined
    ? {}
    : { probeFrom: timeOf(openedAtMs + (openMs ?? defaultCircuitPolicy.openMs)) };
}

function timeOf(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

/** What cannot be read is of a version to come, or broken: it counts as not there, as it does for whoever folds it. */
function parseState(text: string): CircuitState | undefined {
  try {
    return circuitStateSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

async function served<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw unavailable(messageOf(error));
  }
}

function unavailable(why: string): IronflowError {
  const message = `breakers cannot be reached now: ${why}`;
  return new IronflowError('unavailable', 'stream_unavailable', message, { retryAfterSeconds: 1 });
}
