/**
 * Circuit breakers as an operator sees and holds them. A state is written by compare-and-set into the bucket that every executor
 * watches; what an operator forces open is in Postgres first, from which the circuit-breaker service restores a bucket that
 * was lost. All tenants share the bucket: there is a breaker only where a function is called, or was.
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
  breakerActions: Pick<Counter<'change'>, 'add'>;
  notices: Pick<Notices, 'publishCircuit'>;
  now: () => Date;
}

export function addBreakers(app: HttpApp, options: BreakersOptions): void {
  const { circuits, forcedBreakers, now } = options;
  serve(app, options, routes.listBreakers, async (request) => {
    const { environmentId } = principalOf(request).scope;
    const { state, function: functionId } = request.query;
    const max = limits.breakersListedMax;
    const isWanted = (one: CircuitState): boolean =>
      // The key says so as well; nothing of a neighbour is shown whatever is in there.
      one.environmentId === environmentId &&
      (state ?? one.state) === one.state &&
      (functionId ?? one.functionId) === one.functionId;
    const entries = await served(() =>
      circuits.entries(circuitKeysOf(environmentId), max + 1, (value) => {
        const one = parseState(value);
        return one !== undefined && isWanted(one);
      }),
    );
    const nowMs = now().getTime();
    const breakers = entries
      .slice(0, max)
      .flatMap(({ value }) => parseState(value) ?? [])
      .map((one) => toBreaker(one, nowMs));
    const place = ({ functionId: id, endpoint }: Breaker): string => `${id} ${endpoint}`;
    breakers.sort((a, b) => (place(a) < place(b) ? -1 : 1));
    return { breakers, isComplete: entries.length <= max };
  });
  serve(app, options, routes.getBreaker, async (request) => {
    const { parts } = await placeOf(options, request, request.query.endpoint);
    const entry = await served(() => circuits.get(circuitKey(parts)));
    const nowMs = now().getTime();
    const state = entry === undefined ? undefined : parseState(entry.value);
    return toBreaker(state ?? closedCircuit(parts, nowMs), nowMs);
  });
  serve(app, options, routes.openBreaker, async (request) => {
    const { parts, isPresent } = await placeOf(options, request, request.body?.endpoint);
    if (!isPresent && !(await isThere(options, parts))) throw notFound();
    const forced = await forcedBreakers.force(parts, request.body?.forMs);
    if (forced === 'too_many') {
      const message = `${limits.forcedBreakersMax} breakers of this environment are forced open: reset one first`;
      throw new IronflowError('conflict', 'too_many_forced_breakers', message);
    }
    const written = await write(options, parts, (state) => forcedOpen(state, parts, forced));
    return tell(options, request, { change: 'forced', written });
  });
  serve(app, options, routes.resetBreaker, async (request) => {
    const { parts, isPresent } = await placeOf(options, request, request.body?.endpoint);
    const wasForced = await forcedBreakers.release(parts);
    const isToWrite = wasForced || (await isThere(options, parts));
    if (!isPresent && !isToWrite) throw notFound();
    const closed = closedCircuit(parts, now().getTime());
    if (isToWrite) await write(options, parts, () => closed);
    return tell(options, request, { change: 'reset', written: closed });
  });
}

/** Whom a request means: a function that there is, at the endpoint at which it is called now unless it names another. */
async function placeOf(
  { forcedBreakers }: BreakersOptions,
  request: FastifyRequest<{ Params: { id: string } }>,
  endpoint: string | undefined,
): Promise<{ parts: CircuitParts; isPresent: boolean }> {
  const { environmentId } = principalOf(request).scope;
  const functionId = request.params.id;
  const present = await forcedBreakers.endpointOf(environmentId, functionId);
  if (present === undefined) {
    const message = 'there is no function of that id in this environment';
    throw new IronflowError('not_found', 'function_not_found', message);
  }
  const parts = { environmentId, functionId, endpoint: endpoint ?? present };
  return { parts, isPresent: parts.endpoint === present };
}

async function isThere({ circuits }: BreakersOptions, parts: CircuitParts): Promise<boolean> {
  return (await served(() => circuits.get(circuitKey(parts)))) !== undefined;
}

function notFound(): IronflowError {
  const message = 'the function is not called at that endpoint, and has no breaker of it';
  return new IronflowError('not_found', 'breaker_not_found', message);
}

/** A write loses only to another that got through: so many in a row are a storm. */
const attemptsMax = 20;
const conflictPauseMs = 5;

async function write(
  { circuits }: BreakersOptions,
  parts: CircuitParts,
  next: (state: CircuitState | undefined) => CircuitState,
): Promise<CircuitState> {
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
    if (written !== undefined) return written;
    // Randomly, or those that met once would meet again.
    await delay(conflictPauseMs * attempt * Math.random());
  }
  throw unavailable('it is written by others all the time');
}

interface Action {
  change: CircuitChange;
  written: CircuitState;
}

function tell(
  { breakerActions, notices, now }: BreakersOptions,
  request: FastifyRequest,
  { change, written }: Action,
): Breaker {
  const atMs = now().getTime();
  const { scope } = principalOf(request);
  const { functionId } = written;
  breakerActions.add(1, { change });
  notices.publishCircuit({ scope, functionId, circuitId: circuitId(written), change, atMs });
  return toBreaker(written, atMs);
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
