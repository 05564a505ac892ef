/**
 * Time that passes from event to event: nothing waits for it, and the same seed sees the same order. While it is installed it
 * stands in for the process's clocks and timers, so production modules run as they are.
 *
 * `setImmediate` stays the event loop's own, since its order against microtasks is what the SDK relies on; it is only counted,
 * so that time moves on when nothing is left to do at an instant.
 */
import type { Clock } from '@ironflow/service';

interface Event {
  atMs: number;
  /** Those of one instant happen in the order in which they were asked for. */
  order: number;
  happen: () => void;
  cancelled: boolean;
}

const startMs = 1_700_000_000_000;

export class VirtualTime {
  nowMs = startMs;
  happened = 0;
  private readonly events: Event[] = [];
  private asked = 0;
  private immediates = 0;
  private readonly turn = setImmediate;

  readonly clock: Clock = {
    now: () => Math.floor(this.nowMs),
    setTimeout: (callback, delayMs) => ({ cancel: this.after(delayMs, callback) }),
  };

  /** Answers how to call it off. */
  after(delayMs: number, happen: () => void): () => void {
    const event = {
      atMs: this.nowMs + Math.max(0, delayMs),
      order: (this.asked += 1),
      happen,
      cancelled: false,
    };
    this.push(event);
    return () => {
      event.cancelled = true;
    };
  }

  /** Until `isOver`, or until nothing more happens or that much time has passed. */
  async run(isOver: () => boolean, limitMs: number): Promise<void> {
    const endsAtMs = this.nowMs + limitMs;
    await this.settle();
    while (!isOver()) {
      if ((this.events[0]?.atMs ?? Infinity) > endsAtMs) return;
      const event = this.pop()!;
      if (event.cancelled) continue;
      this.happened += 1;
      this.nowMs = Math.max(this.nowMs, event.atMs);
      event.happen();
      await this.settle();
    }
  }

  /** Stands in for clocks and timers; answers how to take it back. */
  install(random: () => number): () => void {
    const undo: (() => void)[] = [];
    const replace = (owner: object, name: string, value: unknown): void => {
      const before = Object.getOwnPropertyDescriptor(owner, name)!;
      Object.defineProperty(owner, name, { value, configurable: true, writable: true });
      undo.push(() => Object.defineProperty(owner, name, before));
    };
    const clear = (handle: unknown): void => (handle as { cancel?: () => void } | undefined)?.cancel?.();
    replace(Date, 'now', () => Math.floor(this.nowMs));
    replace(Math, 'random', random);
    replace(globalThis, 'performance', { now: () => this.nowMs - startMs });
    replace(globalThis, 'setTimeout', (callback: () => void, delayMs = 0) =>
      handleOf(this.after(delayMs, callback)),
    );
    replace(globalThis, 'setInterval', (callback: () => void, delayMs: number) =>
      this.repeat(callback, delayMs),
    );
    replace(globalThis, 'clearTimeout', clear);
    replace(globalThis, 'clearInterval', clear);
    replace(globalThis, 'setImmediate', (callback: () => void) => {
      this.immediates += 1;
      return this.turn(() => {
        this.immediates -= 1;
        callback();
      });
    });
    return () => {
      for (const step of undo.reverse()) step();
    };
  }

  private repeat(callback: () => void, delayMs: number) {
    let cancelNext = (): void => undefined;
    const next = (): void => {
      cancelNext = this.after(delayMs, () => {
        next();
        callback();
      });
    };
    next();
    return handleOf(() => cancelNext());
  }

  /** Microtasks and immediates, until there are none. */
  private async settle(): Promise<void> {
    do await new Promise<void>((resolve) => this.turn(resolve));
    while (this.immediates > 0);
  }

  private push(event: Event): void {
    const { events } = this;
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, events[parent]!)) break;
      events[at] = events[parent]!;
      at = parent;
    }
    events[at] = event;
  }

  private pop(): Event | undefined {
    const { events } = this;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || last === undefined || events.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && isBefore(events[child + 1]!, events[child]!)) child += 1;
      if (!isBefore(events[child]!, last)) break;
      events[at] = events[child]!;
      at = child;
    }
    events[at] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}

function handleOf(cancel: () => void) {
  const handle = { cancel, ref: () => handle, unref: () => handle, hasRef: () => true };
  return handle;
}
