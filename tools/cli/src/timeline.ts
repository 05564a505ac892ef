/** A run's timeline as text: one line an attempt, with a bar where it lay in time. Pure. */
import type { RunDetail, Step } from '@ironflow/sdk';
import { plain } from './output.js';

const barWidth = 32;

export function drawTimeline(run: RunDetail, nowMs: number): string[] {
  const beginMs = Date.parse(run.createdAt);
  const endMs = Math.max(beginMs + 1, ...run.steps.map((step) => endOf(step, nowMs)), lastMoment(run, nowMs));
  const position = (timeMs: number): number =>
    Math.round(((Math.min(Math.max(timeMs, beginMs), endMs) - beginMs) / (endMs - beginMs)) * barWidth);
  const steps = [...run.steps].sort(
    (a, b) => Date.parse(a.startedAt) - Date.parse(b.startedAt) || a.attempt - b.attempt,
  );
  const { waitingFor } = run;
  const until = waitingFor?.until;
  const waits = waitingFor === undefined ? undefined : `(${plain(waitingFor.rule)})`;
  const nameWidth = Math.max(4, waits?.length ?? 0, ...steps.map((step) => labelOf(step).length));
  const lines = steps.map((step) => {
    const from = position(Date.parse(step.startedAt));
    const to = Math.max(from + 1, position(endOf(step, nowMs)));
    const bar = `${' '.repeat(from)}${fillOf(step).repeat(to - from)}`
      .slice(0, barWidth + 1)
      .padEnd(barWidth + 1);
    const tookMs = Math.max(0, endOf(step, nowMs) - Date.parse(step.startedAt));
    const note = step.error === undefined ? '' : `  ${plain(`${step.error.name}: ${step.error.message}`)}`;
    return `${labelOf(step).padEnd(nameWidth)}  |${bar}|  ${step.status.padEnd(10)}  ${formatDuration(tookMs)}${note}`;
  });
  if (waits === undefined) return lines;
  // No step of it: it stands at the end of what there is.
  const bar = `${' '.repeat(barWidth)}·`;
  return [
    ...lines,
    `${waits.padEnd(nameWidth)}  |${bar}|  waiting${until === undefined ? '' : `     until ${until}`}`,
  ];
}

function labelOf(step: Step): string {
  const id = plain(step.id);
  return step.attempt <= 1 ? id : `${id} (attempt ${step.attempt})`;
}

function fillOf(step: Step): string {
  if (step.type === 'sleep') return '·';
  return step.status === 'completed' ? '█' : '▒';
}

function endOf(step: Step, nowMs: number): number {
  return step.endedAt === undefined ? nowMs : Date.parse(step.endedAt);
}

function lastMoment(run: RunDetail, nowMs: number): number {
  return run.endedAt === undefined ? nowMs : Date.parse(run.endedAt);
}

export function formatDuration(durationMs: number): string {
  if (durationMs < 1_000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1_000).toFixed(1)} s`;
  if (durationMs < 3_600_000) return `${(durationMs / 60_000).toFixed(1)} min`;
  return `${(durationMs / 3_600_000).toFixed(1)} h`;
}
