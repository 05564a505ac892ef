/**
 * What the functions saw happen, written outside the platform: one JSON line each, appended before anything else goes on,
 * so that it survives a kill -9. Times are the machine's monotonic clock, which all processes share.
 */
import { appendFileSync, readFileSync } from 'node:fs';

export interface LedgerLine {
  /** `begun` before a step's work, `acknowledged` once `step.run` has resolved, `fired` by a schedule. */
  what: 'begun' | 'acknowledged' | 'fired';
  run: string;
  step: string;
  attempt: number;
  atNanoseconds: string;
}

export function createLedger(file: string) {
  return (line: Omit<LedgerLine, 'atNanoseconds'>): void => {
    appendFileSync(file, `${JSON.stringify({ ...line, atNanoseconds: String(process.hrtime.bigint()) })}\n`);
  };
}

export interface LedgerFindings {
  begun: number;
  /** Steps begun after their record had been acknowledged: never allowed. */
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

/** Pure: what the lines say. */
export function examine(lines: LedgerLine[]): LedgerFindings {
  const acknowledgedAt = new Map<string, bigint>();
  const beginnings = new Map<string, number>();
  for (const line of lines) {
    if (line.what !== 'acknowledged') continue;
    const key = `${line.run} ${line.step}`;
    const at = BigInt(line.atNanoseconds);
    const known = acknowledgedAt.get(key);
    if (known === undefined || at < known) acknowledgedAt.set(key, at);
  }
  const violations: LedgerLine[] = [];
  let begun = 0;
  for (const line of lines) {
    if (line.what !== 'begun') continue;
    begun += 1;
    const acknowledged = acknowledgedAt.get(`${line.run} ${line.step}`);
    if (acknowledged !== undefined && BigInt(line.atNanoseconds) > acknowledged) violations.push(line);
    const attempt = `${line.run} ${line.step} ${line.attempt}`;
    beginnings.set(attempt, (beginnings.get(attempt) ?? 0) + 1);
  }
  const repeats = [...beginnings.values()].reduce((sum, count) => sum + count - 1, 0);
  return { begun, violations, repeats };
}
