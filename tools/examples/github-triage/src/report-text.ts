/** The report and one run's timeline, as lines of text. */
import type { RunDetail, Step } from '@ironflow/sdk';
import type { ExampleReport } from './report.js';

const problemsMax = 20;
const barWidth = 32;

export function reportLines(report: ExampleReport): string[] {
  const { functions, problems } = report;
  const total = (of: 'expected' | 'runs' | 'completed' | 'steps' | 'retries'): number =>
    functions.reduce((sum, row) => sum + row[of], 0);
  const rows = [
    ['function', 'mode', 'expected', 'runs', 'completed', 'steps', 'retries'],
    ...functions.map((row) =>
      [row.functionId, row.mode, row.expected, row.runs, row.completed, row.steps, row.retries].map(String),
    ),
    ['all', '', ...(['expected', 'runs', 'completed', 'steps', 'retries'] as const).map(total).map(String)],
  ];
  const verdict = report.ok
    ? `OK: ${report.accepted} of ${report.payloads} payloads accepted; every matching function ran exactly once and completed`
    : `NOT OK: ${report.accepted} of ${report.payloads} payloads accepted; ${problems.length} problems`;
  const shown = problems.slice(0, problemsMax).map((problem) => `- ${problem}`);
  const hidden = problems.length - shown.length;
  return [
    '',
    ...alignColumns(rows, 2),
    '',
    verdict,
    ...shown,
    ...(hidden > 0 ? [`- and ${hidden} more`] : []),
  ];
}

/** One line for each attempt of each step, in the order in which they began. */
export function timelineLines(run: RunDetail): string[] {
  // Steps are timed by the app's clock, the run by the platform's.
  const begins = [run.startedAt ?? run.createdAt, ...run.steps.map(({ startedAt }) => startedAt)];
  const beganAtMs = Math.min(...begins.map((time) => Date.parse(time)));
  const attempts = run.steps
    .map((step) => ({
      step,
      startMs: Date.parse(step.startedAt) - beganAtMs,
      endMs: endOf(step) - beganAtMs,
    }))
    .sort((one, other) => one.startMs - other.startMs);
  const runEndMs = run.endedAt === undefined ? 0 : Date.parse(run.endedAt) - beganAtMs;
  const lengthMs = Math.max(1, runEndMs, ...attempts.map(({ endMs }) => endMs));
  const rows = [
    ['step', 'attempt', 'status', 'began', 'took', ''],
    ...attempts.map(({ step, startMs, endMs }) => [
      step.name,
      String(step.attempt),
      step.status,
      `+${startMs} ms`,
      `${endMs - startMs} ms`,
      bar({ startMs, endMs, lengthMs, mark: step.type === 'sleep' ? '·' : '█' }),
    ]),
  ];
  const head = `One run: ${run.functionId} (${run.mode}) of ${run.eventName}, ${run.status} after ${runEndMs} ms`;
  return ['', head, `  ${run.id}`, ...alignColumns(rows, 3).map((line) => `  ${line}`), ''];
}

function endOf(step: Step): number {
  return Date.parse(step.endedAt ?? step.dueAt ?? step.startedAt);
}

function bar(of: { startMs: number; endMs: number; lengthMs: number; mark: string }): string {
  const at = (ms: number): number =>
    Math.max(0, Math.min(barWidth, Math.round((ms / of.lengthMs) * barWidth)));
  const start = Math.min(at(of.startMs), barWidth - 1);
  return ' '.repeat(start) + of.mark.repeat(Math.max(1, at(of.endMs) - start));
}

/** Text to the left for the first columns, numbers to the right for the others; the last may be of any width. */
function alignColumns(rows: readonly (readonly string[])[], textColumns: number): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((text, column) => {
        const isBar = rows[0]![column] === '';
        return column < textColumns || isBar ? text.padEnd(widths[column]!) : text.padStart(widths[column]!);
      })
      .join('  ')
      .trimEnd(),
  );
}
