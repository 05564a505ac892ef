/**
 * What the functions saw happen, written outside the platform: one JSON line each, appended before anything else goes on,
 * so that it survives a kill -9. What was durable meanwhile is not the function's to say: it goes on before its records
 * are acknowledged (ADR 6), and that is read from the journal (journal-times.ts). Both are times of this machine's clock.
 */
import { appendFileSync, readFileSync } from 'node:fs';

export interface LedgerLine {
  /**
   * `begun` before a step's work and `ended` after it, or `stopped` as its signal fired; `fired` by a schedule; `asked` as a
   * handler comes to a sleep or a wait, `passed` as it has gone past it in vain, both again in each replay; `called` by an endpoint
   * whose calls are counted, the step being how it answers.
   */
  what: 'begun' | 'ended' | 'stopped' | 'fired' | 'asked' | 'passed' | 'called';
  run: string;
  step: string;
  attempt: number;
  atMs: number;
  /** With `asked`: how long it is to take, or until when. */
  forMs?: number;
  untilMs?: number;
  /** Of the worker that wrote it, if it has one. */
  build?: string;
  /** Of what limits it, and the process that works on it. */
  key?: string;
  pid?: number;
}

export function createLedger(file: string) {
  return (line: Omit<LedgerLine, 'atMs'>): void => {
    appendFileSync(file, `${JSON.stringify({ ...line, atMs: Date.now() })}\n`);
  };
}

export interface LedgerFindings {
  begun: number;
  /** Steps begun after their result had been stored: never allowed. */
  violations: LedgerLine[];
  /** Attempts of steps that began more than once: allowed for those in flight when something was killed. */
  repeats: number;
}

export function readLedger(file: string): LedgerLine[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  // The last line may be cut off by a kill.
  return text
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as LedgerLine);
}

/** When the result of each step was stored, by `stepKey`, and of each attempt that another followed, by `attemptKey`. */
export type StoredTimes = Map<string, number>;

export const stepKey = (run: string, step: string): string => `${run} ${step}`;

export const attemptKey = (run: string, step: string, attempt: number): string =>
  `${stepKey(run, step)} ${attempt}`;

/** The earlier time of each step. */
export function earliest(...all: StoredTimes[]): StoredTimes {
  const times: StoredTimes = new Map();
  for (const [key, atMs] of all.flatMap((some) => [...some])) {
    times.set(key, Math.min(atMs, times.get(key) ?? atMs));
  }
  return times;
}

/** Pure: what the lines say. */
export function examine(lines: LedgerLine[], storedAtMs: StoredTimes): LedgerFindings {
  const beginnings = new Map<string, number>();
  const violations: LedgerLine[] = [];
  let begun = 0;
  for (const line of lines) {
    if (line.what !== 'begun') continue;
    begun += 1;
    const attempt = attemptKey(line.run, line.step, line.attempt);
    const stored = [storedAtMs.get(stepKey(line.run, line.step)), storedAtMs.get(attempt)];
    if (stored.some((atMs) => atMs !== undefined && line.atMs > atMs)) violations.push(line);
    beginnings.set(attempt, (beginnings.get(attempt) ?? 0) + 1);
  }
  const repeats = [...beginnings.values()].reduce((sum, count) => sum + count - 1, 0);
  return { begun, violations, repeats };
}
