/** `ironflow runs list|show|watch`. */
import { Command } from 'commander';
import type { RunDetail, RunsQuery } from '@ironflow/sdk';
import { print, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import { drawTimeline, formatDuration } from '../timeline.js';

export function runCommands(): Command {
  const list = new Command('list')
    .description('runs, newest first')
    .option(
      '--status <status>',
      'queued, running, waiting, waiting_for_worker, completed, failed, cancelled, skipped',
    )
    .option('--function <id>')
    .option('--event <id>')
    .option('--correlation <id>')
    .option('--from <time>', 'ISO 8601')
    .option('--to <time>', 'ISO 8601')
    .option('--limit <n>', 'at most 200', '50')
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (flags: Record<string, string>, command: Command) => {
      const { client, json } = openSession(command);
      const page = await client.runs.list(queryOf(flags));
      if (json) return printJson(page);
      if (page.runs.length === 0) return print('no runs');
      printTable(
        ['RUN', 'FUNCTION', 'STATUS', 'EVENT', 'CREATED', 'TOOK'],
        page.runs.map((run) => [
          run.id,
          run.functionId,
          run.status,
          run.eventName,
          run.createdAt,
          run.endedAt === undefined
            ? ''
            : formatDuration(Date.parse(run.endedAt) - Date.parse(run.createdAt)),
        ]),
      );
      if (page.nextCursor !== undefined) print(`\nmore: --cursor ${page.nextCursor}`);
    });
  const show = new Command('show')
    .description('one run with its timeline')
    .argument('<run id>')
    .action(async (runId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command);
      const run = await client.runs.get(runId);
      if (json) printJson(run);
      else printRun(run);
    });
  const watch = new Command('watch')
    .description('one run as it changes, until it ends')
    .argument('<run id>')
    .action(async (runId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command);
      let shown = '';
      for await (const update of client.watch(runId)) {
        if (json) {
          print(JSON.stringify(update));
          continue;
        }
        const line = `${update.status}: ${update.steps.map((step) => `${step.id} ${step.status}`).join(', ')}`;
        if (line !== shown) print(line);
        shown = line;
      }
    });
  return new Command('runs')
    .description('what runs and what ran')
    .addCommand(list)
    .addCommand(show)
    .addCommand(watch);
}

function queryOf(flags: Record<string, string>): Partial<RunsQuery> {
  const { limit, ...filters } = flags;
  return { ...filters, limit: Number(limit) };
}

function printRun(run: RunDetail): void {
  print(`run       ${run.id}`);
  print(`function  ${run.functionId} (app ${run.appId}, ${run.mode})`);
  print(`status    ${run.status}${run.skipReason === undefined ? '' : `: ${run.skipReason}`}`);
  print(`event     ${run.eventName} ${run.eventId}`);
  if (run.traceId !== undefined) print(`trace     ${run.traceId}`);
  print(`created   ${run.createdAt}`);
  if (run.startedAt !== undefined) {
    print(`queued    ${formatDuration(Date.parse(run.startedAt) - Date.parse(run.createdAt))}`);
  }
  if (run.endedAt !== undefined) {
    print(`took      ${formatDuration(Date.parse(run.endedAt) - Date.parse(run.createdAt))}`);
  }
  const lines = drawTimeline(run, Date.now());
  if (lines.length > 0) print();
  for (const line of lines) print(line);
  if (run.output !== undefined) print(`\noutput    ${JSON.stringify(run.output)}`);
  if (run.error !== undefined) print(`\nerror     ${run.error.name}: ${run.error.message}`);
}
