/**
 * A process of the platform and its lines to the world. What it sends arrives in order, after a while or not at all; of one
 * that is paused nothing leaves and nothing comes in until it goes on, and of one that is dead nothing does any more.
 */
import type { Clock } from '@ironflow/service';
import type { Faults } from './faults.js';
import type { Random } from './random.js';
import type { VirtualTime } from './virtual-time.js';

export interface World {
  time: VirtualTime;
  random: Random;
  faults: Faults;
  note: (line: string) => void;
}

export class Process {
  private state: 'running' | 'paused' | 'dead' = 'running';
  private held: (() => void)[] = [];
  /** What was sent before arrives before. */
  private readonly arrivals = { there: 0, here: 0 };
  private readonly reconnectListeners = new Set<() => void>();
  private readonly deathListeners = new Set<() => void>();
  private connected = true;
  connectedSinceMs: number;

  constructor(
    readonly name: string,
    private readonly world: World,
  ) {
    this.connectedSinceMs = world.time.clock.now();
  }

  get isAlive(): boolean {
    return this.state !== 'dead';
  }

  get isConnected(): boolean {
    return this.connected;
  }

  die(): void {
    this.state = 'dead';
    this.held = [];
    for (const listener of this.deathListeners) listener();
  }

  onDeath(listener: () => void): void {
    this.deathListeners.add(listener);
  }

  pause(): void {
    if (this.state === 'running') this.state = 'paused';
  }

  goOn(): void {
    if (this.state !== 'paused') return;
    this.state = 'running';
    const { held } = this;
    this.held = [];
    for (const action of held) this.whenRunning(action);
  }

  disconnect(): void {
    this.connected = false;
  }

  reconnect(): void {
    if (this.connected || !this.isAlive) return;
    this.connected = true;
    this.connectedSinceMs = this.world.time.clock.now();
    for (const listener of this.reconnectListeners) this.whenRunning(listener);
  }

  onReconnect(listener: () => void): () => void {
    this.reconnectListeners.add(listener);
    return () => void this.reconnectListeners.delete(listener);
  }

  /** Its timers: of a process that is paused they are late. */
  get clock(): Clock {
    const { time } = this.world;
    return {
      now: () => time.clock.now(),
      setTimeout: (callback, delayMs) => ({ cancel: time.after(delayMs, () => this.whenRunning(callback)) }),
    };
  }

  /** On the one connection to NATS: in order. Forgotten without a connection. */
  send(arrive: () => void): void {
    this.whenRunning(() => {
      if (this.connected) this.travel('there', arrive);
    });
  }

  /** On a socket to another process: in order, and whatever becomes of the connection to NATS. */
  tell(other: Process, action: () => void): void {
    this.whenRunning(() => this.travel('there', () => other.whenRunning(action)));
  }

  /** From NATS to the process: in order. Lost without a connection. */
  receive(action: () => void, lost: () => void = () => undefined): void {
    this.travel('here', () => {
      if (this.connected) this.whenRunning(action);
      else lost();
    });
  }

  /** A request on the connection, and its answer; `lost` is what a process makes of none in time. */
  ask<Answer>(serve: () => Answer, lost: Answer): Promise<Answer> {
    const { faults, time } = this.world;
    return new Promise((resolve, reject) => {
      const giveUp = (): void =>
        void time.after(requestTimeoutMs, () => this.whenRunning(() => resolve(lost)));
      this.whenRunning(() => {
        if (!this.connected || faults.losesRequest()) return giveUp();
        this.travel('there', () => {
          const answer = attempt(serve);
          if (faults.losesAnswer()) return giveUp();
          this.receive(() => ('error' in answer ? reject(answer.error) : resolve(answer.value)), giveUp);
        });
      });
    });
  }

  /** A statement or a transaction: on one of many connections, in no order. `refuse` makes the error of one that was lost. */
  query<Answer>(serve: () => Answer, refuse: () => Error): Promise<Answer> {
    const { faults, time, random } = this.world;
    return new Promise((resolve, reject) => {
      const latencyMs = (): number => random.between(0.3, 3) + faults.slownessMs();
      const later = (action: () => void): void =>
        void time.after(latencyMs(), () => this.whenRunning(action));
      this.whenRunning(() => {
        if (faults.losesStatement()) return later(() => reject(refuse()));
        time.after(latencyMs(), () => {
          const answer = attempt(serve);
          if (faults.losesStatement()) later(() => reject(refuse()));
          else later(() => ('error' in answer ? reject(answer.error) : resolve(answer.value)));
        });
      });
    });
  }

  private travel(direction: 'there' | 'here', arrive: () => void): void {
    const { time, random, faults } = this.world;
    const atMs = Math.max(
      this.arrivals[direction],
      time.nowMs + random.between(0.1, 1) + faults.slownessMs(),
    );
    this.arrivals[direction] = atMs;
    time.after(atMs - time.nowMs, arrive);
  }

  /** Now, when it goes on, or never. */
  whenRunning(action: () => void): void {
    if (this.state === 'running') action();
    else if (this.state === 'paused') this.held.push(action);
  }
}

const requestTimeoutMs = 2_000;

function attempt<Answer>(serve: () => Answer): { value: Answer } | { error: Error } {
  try {
    return { value: serve() };
  } catch (error) {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }
}
