/** `ironflow runs list|show|logs|watch|cancel|cancel-all|unpin|signal|approve|reject|rerun|rerun-all`. */
import { Command, Option } from 'commander';
import { isTerminal, runStatuses } from '@ironflow/schema';
import type { CancelFilter, RerunFilter, Run, RunDetail, RunsQuery } from '@ironflow/sdk';
import { describeWaiting } from '../flow-control.js';
import { parsePageSize, parseTime, readData } from '../input.js';
import { describeMismatch } from '../mismatch.js';
import { plain, printJson, printTable } from '../output.js';
import { requireSuccess } from '../run-outcome.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';
import { drawTimeline, formatDuration } from '../timeline.js';
import { logsCommand } from './run-logs.js';

export function runCommands(terminal: Terminal): Command {
  return new Command('runs')
    .description('what runs and what ran')
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(logsCommand(terminal))
    .addCommand(watchCommand(terminal))
    .addCommand(cancelCommand(terminal))
    .addCommand(unpinCommand(terminal))
    .addCommand(signalCommand(terminal))
    .addCommand(decideCommand(terminal, 'approve'))
    .addCommand(decideCommand(terminal, 'reject'))
    .addCommand(rerunCommand(terminal))
    .addCommand(rerunAllCommand(terminal))
    .addCommand(cancelAllCommand(terminal));
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('runs, newest first')
    .addOption(new Option('--status <status>', 'only those').choices(runStatuses))
    .option('--function <id>', 'only runs of this function')
    .option('--event <id>', 'only runs that this event started')
    .option('--correlation <id>', 'only runs that go back to the same root event')
    .option('--from <time>', 'created at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'created before', parseTime)
    .option('--limit <n>', 'runs a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (query: Partial<RunsQuery>, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const page = await client.runs.list(query);
      if (json) return printJson(terminal, page);
      if (page.runs.length === 0) return terminal.print('no runs');
      printTable(
        terminal,
        ['RUN', 'FUNCTION', 'STATUS', 'EVENT', 'CREATED', 'TOOK', 'BUILD'],
        page.runs.map((run) => [
          run.id,
          run.functionId,
          statusOf(run),
          run.eventName,
          run.createdAt,
          run.endedAt === undefined ? '' : tookOf(run, run.endedAt),
          run.buildId ?? '',
        ]),
      );
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('one run with its timeline')
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .action(async (runId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const run = await client.runs.get(runId);
      if (json) printJson(terminal, run);
      else for (const line of describeRun(run, Date.now())) terminal.print(line);
    });
}

function watchCommand(terminal: Terminal): Command {
  return new Command('watch')
    .description(
      'one run as it changes, until it ends; with --json an object a line; exit code 1 if it failed',
    )
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .action(async (runId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      let shown = '';
      const last: Pick<Run, 'id' | 'status'>[] = [];
      for await (const update of client.watch(runId)) {
        last[0] = { id: runId, status: update.status };
        const steps = update.steps.map((step) => `${plain(step.id)} ${step.status}`).join(', ');
        const line = json ? JSON.stringify(update) : `${update.status}${steps === '' ? '' : `: ${steps}`}`;
        if (json || line !== shown) terminal.print(line);
        shown = line;
      }
      requireSuccess(terminal, last, json);
    });
}

function cancelCommand(terminal: Terminal): Command {
  return new Command('cancel')
    .description('stop a run: what runs of it is aborted, and nothing more is begun')
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .action(async (runId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const run = await client.runs.cancel(runId);
      if (json) printJson(terminal, run);
      else terminal.print(run.status === 'cancelled' ? 'cancelled' : 'asked to stop');
    });
}

function signalCommand(terminal: Terminal): Command {
  return new Command('signal')
    .description('send a signal to a run, for the step of that name that waits for it, now or later')
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .argument('<name>', 'of the step')
    .argument('[data]', 'JSON; "-" reads it from standard input', 'null')
    .action(async (runId: string, name: string, data: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const answer = await client.signal(runId, name, await readData(terminal, data));
      if (json) printJson(terminal, answer);
      else terminal.print('sent');
    });
}

function decideCommand(terminal: Terminal, verdict: 'approve' | 'reject'): Command {
  return new Command(verdict)
    .description(`${verdict} what a step of a run asks for (\`step.approve\`), once`)
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .argument('<name>', 'of the approval, as `runs show` prints it')
    .option('--comment <text>', 'given to the function')
    .action(async (runId: string, name: string, flags: { comment?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const decided = await client.approvals.decide(runId, name, {
        approved: verdict === 'approve',
        ...flags,
      });
      if (json) printJson(terminal, decided);
      else terminal.print(decided.approved ? 'approved' : 'rejected');
    });
}

interface RerunFlags {
  data?: string;
  fromStep?: string;
  idempotencyKey?: string;
}

function rerunCommand(terminal: Terminal): Command {
  return new Command('rerun')
    .description('repeat a run that has ended, by a new event for its function alone')
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .option('--data <json>', 'in place of the data of its event; "-" reads it from standard input')
    .option('--from-step <id>', 'take over the steps that settled before this one, as `runs show` names it')
    .option('--idempotency-key <key>', 'the same key within 24 hours starts nothing new')
    .action(async (runId: string, flags: RerunFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { data, ...rest } = flags;
      const changed = data === undefined ? {} : { data: await readData(terminal, data) };
      const rerun = await client.runs.rerun(runId, { ...rest, ...changed });
      if (json) return printJson(terminal, rerun);
      terminal.print(`event ${rerun.eventId}`);
      terminal.print(`run   ${rerun.runId}`);
    });
}

function rerunAllCommand(terminal: Terminal): Command {
  return new Command('rerun-all')
    .description(
      'repeat all runs that a filter finds, the newest first, at the rate that the platform allows',
    )
    .addOption(
      new Option('--status <status>', 'how they ended')
        .choices(runStatuses.filter(isTerminal))
        .makeOptionMandatory(),
    )
    .option('--function <id>', 'only runs of this function')
    .option('--from <time>', 'created at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'created before', parseTime)
    .option('--idempotency-key <key>', 'the same key within 24 hours repeats no run a second time')
    .option('--dry-run', 'only count them', false)
    .action(async (flags: RerunFilter & BulkFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { dryRun, idempotencyKey, ...filter } = flags;
      const options = { dryRun, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
      const result = await client.runs.rerunAll(filter, options);
      if (json) return printJson(terminal, result);
      if (dryRun) return terminal.print(`${result.count} runs would be repeated`);
      terminal.print(`${result.count} runs are repeated`);
      if (result.skipped > 0) terminal.print(`${result.skipped} have no function or no event any more`);
    });
}

function unpinCommand(terminal: Terminal): Command {
  return new Command('unpin')
    .description('let a run that waits for workers of its build go on with those of any')
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .action(async (runId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const run = await client.runs.unpin(runId);
      if (json) return printJson(terminal, run);
      terminal.print(`run ${run.id} is pinned to no build`);
    });
}

function cancelAllCommand(terminal: Terminal): Command {
  return new Command('cancel-all')
    .description('stop all runs that a filter finds and that have not ended')
    .addOption(
      new Option('--status <status>', 'only those').choices(runStatuses.filter((one) => !isTerminal(one))),
    )
    .option('--function <id>', 'only runs of this function')
    .option('--correlation <id>', 'only runs that go back to the same root event')
    .option('--from <time>', 'created at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'created before', parseTime)
    .option('--dry-run', 'only count them', false)
    .action(async ({ dryRun, ...filter }: CancelFilter & BulkFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const result = await client.runs.cancelAll(filter, { dryRun });
      if (json) return printJson(terminal, result);
      terminal.print(`${result.count} runs ${dryRun ? 'would be' : 'are'} asked to stop`);
    });
}

interface BulkFlags {
  dryRun: boolean;
  idempotencyKey?: string;
}

export function describeRun(run: RunDetail, nowMs: number): string[] {
  const fields: [string, string | undefined][] = [
    ['run', run.id],
    ['function', `${run.functionId} (app ${run.appId}, ${run.mode})`],
    ['version', run.functionHash],
    ['build', run.buildId],
    ['status', statusOf(run)],
    ['event', `${run.eventName} ${run.eventId}`],
    ['waits for', run.waitingFor === undefined ? undefined : describeWaiting(run.waitingFor)],
    ['joined', run.joinedRunId],
    ['batch', run.batch === undefined ? undefined : `${run.batch.count} events`],
    ['rerun of', run.rerunOf],
    ['trace', run.traceId],
    ['invoker', run.invokedBy],
    ['created', run.createdAt],
    ['queued', run.startedAt === undefined ? undefined : tookOf(run, run.startedAt)],
    ['stopping', stoppingOf(run)],
    ['took', run.endedAt === undefined ? undefined : tookOf(run, run.endedAt)],
    [
      'log',
      run.logLines === undefined ? undefined : `${run.logLines} ${run.logLines === 1 ? 'line' : 'lines'}`,
    ],
    ...(run.approvals ?? []).map(({ name, dueAt }): [string, string] => [
      'approval',
      `${name}: to be decided${dueAt === undefined ? '' : ` until ${dueAt}`}`,
    ]),
  ];
  const timeline = drawTimeline(run, nowMs);
  return [
    ...fields.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(9)} ${plain(value)}`])),
    ...(timeline.length === 0 ? [] : ['', ...timeline]),
    ...(run.notCompensated ?? []).map(
      ({ step, error }, index) =>
        `${index === 0 ? '\n' : ''}not undone  ${plain(`${step}: ${error.name}: ${error.message}`)}`,
    ),
    ...(run.output === undefined ? [] : ['', `output    ${JSON.stringify(run.output)}`]),
    ...(run.error === undefined ? [] : ['', `error     ${plain(`${run.error.name}: ${run.error.message}`)}`]),
    ...(run.mismatch === undefined ? [] : ['', ...describeMismatch(run.mismatch)]),
  ];
}

/** Since when it was asked to, or what it will be once it has undone what it had done. */
function stoppingOf(run: Run): string | undefined {
  if (run.endedAt !== undefined) return undefined;
  return run.stoppingAs === undefined ? run.stopRequestedAt : `to be ${run.stoppingAs}`;
}

function statusOf({
  status,
  skipReason,
  waitingFor,
}: Pick<Run, 'status' | 'skipReason' | 'waitingFor'>): string {
  const why = skipReason ?? waitingFor?.rule;
  return why === undefined ? status : `${status}: ${why}`;
}

/** From the run's creation to a moment of it. */
function tookOf(run: Run, moment: string): string {
  return formatDuration(Math.max(0, Date.parse(moment) - Date.parse(run.createdAt)));
}
