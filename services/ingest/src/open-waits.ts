/**
 * The waits that are open, found by the events they wait for and in the order in which Postgres was asked for them. Also
 * says, by a run's id alone, whether it may be one of theirs: most notices are for nobody here.
 */
import { TurnoverMap } from '@ironflow/collections';
import type { Scope } from '@ironflow/schema';
import type { WaitState } from './wait-state.js';

export interface OpenWait {
  /** Of its process. */
  id: number;
  environmentId: string;
  eventIds: readonly string[];
  state: WaitState;
  /** When Postgres is asked next. */
  checkAtMs: number;
  /** Ends the wait if everything is known. */
  settle: () => void;
  /** Ends the wait with what is known after a last look. */
  expire: () => void;
}

export interface OpenWaits {
  readonly size: number;
  /** Events waited for, each as often as it is. */
  readonly events: number;
  add(wait: OpenWait): void;
  /** False if it was not open. */
  remove(wait: OpenWait): boolean;
  has(wait: OpenWait): boolean;
  /** Those that a notice is for: it counts only in its own environment. */
  of(notice: { eventId: string; scope: Scope }): OpenWait[];
  hasEvent(eventId: string): boolean;
  /** Whether the run may be of an event waited for: a run's id has the time of its event's. */
  mayHaveRun(runId: string): boolean;
  all(): Iterable<OpenWait>;
  /** Those whose time to ask has come, the ones asked for longest ago first, for at most so many events. */
  takeDue(due: { nowMs: number; nextAtMs: number; eventsMax: number }): OpenWait[];
}

export function createOpenWaits(): OpenWaits {
  const open = new TurnoverMap<number, OpenWait>();
  /** Several requests may wait for one event: a repeated idempotency key. */
  const byEvent = new TurnoverMap<string, Set<OpenWait>>();
  /** How many events have it. */
  const times = new Map<string, number>();
  let events = 0;

  function index(eventId: string, wait: OpenWait): void {
    const waits = byEvent.get(eventId);
    events += 1;
    if (waits !== undefined) return void waits.add(wait);
    byEvent.set(eventId, new Set([wait]));
    const time = timeOf(eventId);
    times.set(time, (times.get(time) ?? 0) + 1);
  }

  function unindex(eventId: string, wait: OpenWait): void {
    const waits = byEvent.get(eventId);
    if (waits?.delete(wait) !== true) return;
    events -= 1;
    if (waits.size > 0) return;
    byEvent.delete(eventId);
    const time = timeOf(eventId);
    const left = times.get(time)! - 1;
    if (left === 0) times.delete(time);
    else times.set(time, left);
  }

  return {
    get size() {
      return open.size;
    },
    get events() {
      return events;
    },
    add: (wait) => {
      open.set(wait.id, wait);
      for (const eventId of wait.eventIds) index(eventId, wait);
    },
    remove: (wait) => {
      if (!open.delete(wait.id)) return false;
      for (const eventId of wait.eventIds) unindex(eventId, wait);
      return true;
    },
    has: (wait) => open.has(wait.id),
    of: ({ eventId, scope }) => {
      const waits = byEvent.get(eventId);
      if (waits === undefined) return [];
      return [...waits].filter(({ environmentId }) => environmentId === scope.environmentId);
    },
    hasEvent: (eventId) => byEvent.has(eventId),
    mayHaveRun: (runId) => times.has(timeOf(runId)),
    all: () => open.values(),
    takeDue: ({ nowMs, nextAtMs, eventsMax }) => {
      const due: OpenWait[] = [];
      let asked = 0;
      for (const wait of open.values()) {
        if (asked >= eventsMax) break;
        if (wait.checkAtMs > nowMs) continue;
        due.push(wait);
        asked += wait.eventIds.length;
      }
      for (const wait of due) {
        wait.checkAtMs = nextAtMs;
        open.delete(wait.id);
        open.set(wait.id, wait);
      }
      return due;
    },
  };
}

/** The 48 bits of time of an id, as they are spelled. */
const timeLength = 'xxxxxxxx-xxxx'.length;

function timeOf(id: string): string {
  return id.slice(0, timeLength);
}
