/**
 * Plays the load: emits the events of the seed at their times, does beside each what its case says, and remembers what the
 * platform answered.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '@ironflow/errors';
import { deriveRunId } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { namesOf } from './case.js';
import type { Action, Decision } from './case.js';
import { emissionAt } from './cases.js';
import type { Emission } from './cases.js';
import { uuidOf } from './client.js';
import type { Answer, Request, Requester } from './client.js';
import { linksFileOf } from './kit.js';
import type { Provider } from './provider.js';

/** An event that was answered with 202. */
export interface AcceptedEvent {
  key: string;
  name: string;
  id: string;
  /** When it was sent first. */
  sentAtMs: number;
  takenAtMs: number;
  /** The time that it was given. */
  dueAtMs?: number | undefined;
  /** A probe's runs tell how long the platform takes. */
  isProbe: boolean;
}

export interface Accepted {
  events: AcceptedEvent[];
  /** Ids that requests under one key were answered. */
  repetitions: { key: string; first: string; again: string }[];
  /** Runs that were repeated on request. */
  reruns: { runId: string; eventId: string }[];
  /** What was answered otherwise than it should have been, or not at all. */
  failures: string[];
}

export interface Load {
  readonly accepted: Accepted;
  /** No more events; resolves when every client has done what it had to. */
  finish(): Promise<void>;
}

export interface LoadOptions {
  requester: Requester;
  provider: Provider;
  environmentId: string;
  ledgerFile: string;
  seed: number;
  perSecond: number;
}

export function startLoad(options: LoadOptions): Load {
  const accepted: Accepted = { events: [], repetitions: [], reruns: [], failures: [] };
  const clients: Promise<void>[] = [];
  const startedMs = performance.now();
  let isOver = false;
  const emitAll = async (): Promise<void> => {
    for (let n = 0; !isOver; n += 1) {
      const emission = emissionAt(options.seed, n, options.perSecond);
      await delay(Math.max(0, startedMs + emission.atMs - performance.now()));
      // What its time has passed for while a fault lasted is sent all the same.
      if (!isOver) clients.push(playClient(emission, options, accepted));
    }
  };
  const emitted = emitAll();
  return {
    accepted,
    finish: async () => {
      isOver = true;
      await emitted;
      await Promise.all(clients);
    },
  };
}

async function playClient(emission: Emission, options: LoadOptions, accepted: Accepted): Promise<void> {
  const { kind, mode, data } = emission;
  const names = namesOf(mode);
  const emitEvent = createEmitter(options, accepted);
  try {
    const laterMs = kind.laterMs?.(data.input);
    const event: ToEmit = {
      name: names.event(kind.name),
      data,
      isProbe: kind.isProbe,
      isDelivered: kind.isDelivered,
      dueAtMs: laterMs === undefined ? undefined : Date.now() + laterMs,
    };
    const id = await emitEvent(event);
    const takenMs = performance.now();
    const actions = kind.actions?.(data.input, names) ?? [];
    for (const [index, action] of actions.entries()) {
      await delay(Math.max(0, takenMs + action.afterMs - performance.now()));
      const of = { key: `${data.key} ${index}`, event: { ...event, id }, names };
      await act(action, of, { ...options, accepted, emitEvent });
    }
  } catch (error) {
    accepted.failures.push(`${data.key}, ${kind.name}: ${messageOf(error)}`);
  }
}

interface ToEmit {
  name: string;
  data: { key: string; input: unknown };
  isProbe?: boolean | undefined;
  isDelivered?: boolean | undefined;
  dueAtMs?: number | undefined;
}
type EmitEvent = (event: ToEmit) => Promise<string>;

function createEmitter(options: LoadOptions, accepted: Accepted): EmitEvent {
  return async (event) => {
    const { name, data, isProbe = false, dueAtMs } = event;
    const sentAtMs = Date.now();
    const id = await emit(options, event);
    accepted.events.push({ key: data.key, name, id, sentAtMs, takenAtMs: Date.now(), isProbe, dueAtMs });
    return id;
  };
}

async function emit(
  { requester, provider }: Pick<LoadOptions, 'requester' | 'provider'>,
  { name, data, isDelivered, dueAtMs }: ToEmit,
): Promise<string> {
  if (isDelivered === true) {
    const answer = await requester.send(provider.deliveryOf(name, data));
    if (answer.status >= 300) throw unexpected('a delivery', answer);
    return (answer.body as { id: string }).id;
  }
  const at = dueAtMs === undefined ? {} : { at: new Date(dueAtMs).toISOString() };
  const body = { name, data, idempotencyKey: data.key, ...at };
  const answer = await requester.send({ method: 'POST', path: '/v1/events', body });
  if (answer.status !== 202) throw unexpected('emitting', answer);
  return (answer.body as { ids: [string] }).ids[0];
}

interface Of {
  /** Of the action. */
  key: string;
  event: ToEmit & { id: string };
  names: ReturnType<typeof namesOf>;
}

interface Acting extends LoadOptions {
  accepted: Accepted;
  emitEvent: EmitEvent;
}

async function act(action: Action, { key, event, names }: Of, acting: Acting): Promise<void> {
  const { requester, environmentId, accepted } = acting;
  const runIdOf = (functionId: string): string =>
    deriveRunId({ environmentId, eventId: event.id, functionId });
  const pathOf = (functionId: string): string => `/v1/runs/${runIdOf(functionId)}`;
  /** The event may not be routed yet. */
  const notThere = ({ status }: Answer): boolean => status === 404;
  switch (action.kind) {
    case 'event':
      await acting.emitEvent({ name: names.event(action.name), data: { key, input: action.input } });
      return;
    case 'again': {
      const again = await emit(acting, event);
      accepted.repetitions.push({ key: event.data.key, first: event.id, again });
      return;
    }
    case 'signal': {
      const body = { name: action.signal, data: action.data, id: uuidOf(key) };
      const path = `${pathOf(action.functionId)}/signals`;
      const answer = await requester.send({ method: 'POST', path, body }, notThere);
      // A signal that was stored, whose answer was lost, may have ended the run.
      if (answer.status >= 300 && answer.status !== 409) throw unexpected('a signal', answer);
      return;
    }
    case 'cancel': {
      const path = `${pathOf(action.functionId)}/cancel`;
      const answer = await requester.send({ method: 'POST', path }, notThere);
      if (answer.status >= 300 && answer.status !== 409) throw unexpected('cancelling', answer);
      return;
    }
    case 'decide':
      await decide(action, { key, runId: runIdOf(action.functionId) }, acting);
      return;
    case 'rerun': {
      const body = {
        idempotencyKey: key,
        ...(action.fromStep === undefined ? {} : { fromStep: action.fromStep }),
      };
      const path = `${pathOf(action.functionId)}/rerun`;
      const answer = await requester.send({ method: 'POST', path, body }, isNotEnded);
      if (answer.status >= 300) throw unexpected('repeating a run', answer);
      accepted.reruns.push(answer.body as { runId: string; eventId: string });
    }
  }
}

async function decide(decision: Decision, of: { key: string; runId: string }, acting: Acting): Promise<void> {
  const isKey = decision.by === 'key';
  const request = isKey ? decisionOf(decision, of) : await formOf(decision, of.runId, acting.ledgerFile);
  // Nobody may have been asked yet.
  const answer = await acting.requester.send(request, ({ status }) => isKey && status === 404);
  const isTaken = answer.status < 300;
  if (isTaken && decision.isLate === true) throw unexpected('a second decision', answer);
  // One that was stored, whose answer was lost, may have been taken and its run have ended.
  if (!isTaken && ![404, 409, 410].includes(answer.status)) throw unexpected('a decision', answer);
}

function decisionOf(decision: Decision, { key, runId }: { key: string; runId: string }): Request {
  const { approval: name, approved, comment } = decision;
  const body = { name, approved, comment, id: uuidOf(key) };
  return { method: 'POST', path: `/v1/runs/${runId}/approvals`, body };
}

const linkWithinMs = 300_000;

/** As the page that was sent to whoever is asked. */
async function formOf({ approved, comment }: Decision, runId: string, ledgerFile: string): Promise<Request> {
  const [link] = await eventually(() => readFileSync(linksFileOf(ledgerFile, runId), 'utf8').split('\n'), {
    timeoutMs: linkWithinMs,
    intervalMs: 200,
    description: `the link of run ${runId}`,
  });
  const form = { decision: approved ? 'approve' : 'reject', comment };
  return { method: 'POST', path: new URL(link!).pathname, form };
}

function isNotEnded({ status, body }: Answer): boolean {
  const code = (body as { error?: { code?: string } }).error?.code;
  return status === 404 || (status === 409 && code === 'run_not_ended');
}

function unexpected(what: string, { status, body }: Answer): Error {
  return new Error(`${what} was answered ${status}: ${JSON.stringify(body)}`);
}
