/** What goes wrong, by seed: each kind with a likelihood of its own for each seed, and nothing any more once it is over. */
import type { Random } from './random.js';

export interface Faults {
  losesRequest(): boolean;
  losesAnswer(): boolean;
  losesStatement(): boolean;
  losesNotice(): boolean;
  doublesNotice(): boolean;
  isFull(): boolean;
  /** Beside the usual latency. */
  slownessMs(): number;
  /** Until the next accident of a process or of NATS; `undefined` for none. */
  accidentInMs(): number | undefined;
  end(): void;
}

export function createFaults(random: Random, isFaulty: boolean): Faults {
  let isOver = !isFaulty;
  // Some seeds have a lot of one thing, and some have none of it.
  const likelihood = (most: number): number => (random.chance(0.5) ? 0 : random.next() * most);
  const chances = {
    request: likelihood(0.05),
    answer: likelihood(0.05),
    statement: likelihood(0.05),
    notice: random.chance(0.2) ? 1 : likelihood(0.3),
    doubled: likelihood(0.2),
    full: likelihood(0.05),
    slow: likelihood(0.05),
  };
  const everyMs = random.chance(0.2) ? undefined : random.between(1_000, 8_000);
  const happens = (chance: number): boolean => !isOver && chance > 0 && random.chance(chance);
  return {
    losesRequest: () => happens(chances.request),
    losesAnswer: () => happens(chances.answer),
    losesStatement: () => happens(chances.statement),
    losesNotice: () => happens(chances.notice),
    doublesNotice: () => happens(chances.doubled),
    isFull: () => happens(chances.full),
    slownessMs: () => (happens(chances.slow) ? random.between(5, random.chance(0.2) ? 7_000 : 300) : 0),
    accidentInMs: () => (isOver || everyMs === undefined ? undefined : random.between(0.2, 1.8) * everyMs),
    end: () => {
      isOver = true;
    },
  };
}
