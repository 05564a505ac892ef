/** The waits that are open, found by the events they wait for and in the order in which Postgres was asked for them. */
import type { Scope } from '@ironflow/schema';
import type { WaitState } from './wait-state.js';

export interface OpenWait {
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
  /** Events waited for. */
  readonly events: number;
  add(wait: OpenWait): void;
  /** False if it was not open. */
  remove(wait: OpenWait): boolean;
  has(wait: OpenWait): boolean;
  /** Those that a notice is for: it counts only in its own environment. */
  of(notice: { eventId: string; scope: Scope }): OpenWait[];
  all(): Iterable<OpenWait>;
  /** Those whose time to ask has come, the ones asked for longest ago first, for at most so many events. */
  takeDue(due: { nowMs: number; nextAtMs: number; eventsMax: number }): OpenWait[];
}

export function createOpenWaits(): OpenWaits {
  const open = new Set<OpenWait>();
  /** Several requests may wait for one event: a repeated idempotency key. */
  const byEvent = new Map<string, Set<OpenWait>>();

  function index(eventId: string, wait: OpenWait): void {
    const waits = byEvent.get(eventId);
    if (waits === undefined) byEvent.set(eventId, new Set([wait]));
    else waits.add(wait);
  }

  function unindex(eventId: string, wait: OpenWait): void {
    const waits = byEvent.get(eventId);
    if (waits?.delete(wait) === true && waits.size === 0) byEvent.delete(eventId);
  }

  return {
    get size() {
      return open.size;
    },
    get events() {
      return byEvent.size;
    },
    add: (wait) => {
      open.add(wait);
      for (const eventId of wait.eventIds) index(eventId, wait);
    },
    remove: (wait) => {
      if (!open.delete(wait)) return false;
      for (const eventId of wait.eventIds) unindex(eventId, wait);
      return true;
    },
    has: (wait) => open.has(wait),
    of: ({ eventId, scope }) => {
      const waits = byEvent.get(eventId);
      if (waits === undefined) return [];
      return [...waits].filter(({ environmentId }) => environmentId === scope.environmentId);
    },
    all: () => [...open],
    takeDue: ({ nowMs, nextAtMs, eventsMax }) => {
      const due: OpenWait[] = [];
      let events = 0;
      for (const wait of open) {
        if (events >= eventsMax) break;
        if (wait.checkAtMs > nowMs) continue;
        due.push(wait);
        events += wait.eventIds.length;
      }
      for (const wait of due) {
        wait.checkAtMs = nextAtMs;
        open.delete(wait);
        open.add(wait);
      }
      return due;
    },
  };
}
