/** What a run of the suite tells in the end. */
import type { Facts, OperationFact, Violation } from './facts.js';
import type { InjectedFault } from './injection.js';
import { percentile } from './recovery.js';
import type { Recovery } from './recovery.js';

export interface Report {
  seed: number;
  settings: {
    minutes: number;
    nodes: number;
    replicas: number;
    syncAlways: boolean;
    eventsPerSecond: number;
    faults: string[];
  };
  events: { accepted: number; stored: number };
  runs: Record<string, Record<string, number>>;
  /** Runs that are pinned to a build. */
  pinned: number;
  steps: { begun: number; repeats: number };
  refusals: Record<string, number>;
  network: Record<string, number>;
  faults: (Omit<InjectedFault, 'recoversFrom'> & { recoveredMs: number })[];
  recovery: Record<string, { times: number; p50: number; p99: number }>;
  /** What the operator did. */
  operations: OperationFact[];
  quietAfterMs: number | undefined;
  /** By which the suite's own process, proxy and clients, was late: the 99th percentile. */
  ownDelayMs: number;
  memory: Record<string, { atFirstMegabytes: number; atLastMegabytes: number }>;
  violations: Violation[];
  failures: string[];
}

export function countRunsByFunction({ runs }: Facts): Report['runs'] {
  const counts: Report['runs'] = {};
  for (const { functionId, status } of [...runs].sort((a, b) => (a.functionId < b.functionId ? -1 : 1))) {
    const of = (counts[functionId] ??= {});
    of[status] = (of[status] ?? 0) + 1;
  }
  return counts;
}

export function summarizeRecoveries(recoveries: readonly Recovery[]): Report['recovery'] {
  const names = ['all', ...new Set(recoveries.map(({ name }) => name))];
  return Object.fromEntries(
    names.map((name) => {
      const times = recoveries.filter((one) => name === 'all' || one.name === name).map(({ ms }) => ms);
      const at = (share: number): number => Math.round(percentile(times, share) ?? 0);
      return [name, { times: times.length, p50: at(0.5), p99: at(0.99) }];
    }),
  );
}

const shownOfEachRule = 20;

export function printReport(report: Report, print: (line: string) => void): void {
  const { events, steps, violations, failures } = report;
  const runs = Object.values(report.runs).flatMap((of) => Object.values(of));
  const total = runs.reduce((sum, count) => sum + count, 0);
  print('');
  print(
    `seed ${report.seed}: ${events.accepted} events accepted, ${events.stored} stored, ${total} runs (${report.pinned} pinned)`,
  );
  print(`steps: ${steps.begun} attempts begun, ${steps.repeats} of them again`);
  print(`the suite itself was up to ${report.ownDelayMs} ms late (p99)`);
  print(`refused requests: ${JSON.stringify(report.refusals)}; network: ${JSON.stringify(report.network)}`);
  print(table(['recovery, ms', 'times', 'p50', 'p99'], rowsOf(report.recovery)));
  print(table(['memory, MB', 'at first', 'at last'], rowsOf(report.memory)));
  for (const failure of failures) print(`failure: ${failure}`);
  for (const rule of new Set(violations.map((violation) => violation.rule))) {
    const of = violations.filter((violation) => violation.rule === rule);
    print(`violation: ${rule}: ${of.length}`);
    for (const { evidence } of of.slice(0, shownOfEachRule)) print(`  ${evidence}`);
  }
  print(
    violations.length + failures.length === 0
      ? 'passed: nothing lost, nothing twice, nothing left'
      : 'FAILED',
  );
}

function rowsOf(records: Record<string, Record<string, number>>): (string | number)[][] {
  return Object.entries(records).map(([name, values]) => [name, ...Object.values(values)]);
}

/** In columns; standard output is left to the JSON. */
function table(head: string[], rows: (string | number)[][]): string {
  const lines = [head, ...rows].map((cells) => cells.map(String));
  const widths = head.map((_, column) => Math.max(...lines.map((cells) => cells[column]!.length)));
  const padded = ([first = '', ...others]: string[]): string =>
    [first.padEnd(widths[0]!), ...others.map((cell, index) => cell.padStart(widths[index + 1]!))].join('  ');
  return lines.map(padded).join('\n');
}
