/** `ironflow functions list|replay`. */
import { Command } from 'commander';
import type { FunctionResource, ReplayFilter } from '@ironflow/sdk';
import { parseTime } from '../input.js';
import { printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';
import { formatDuration } from '../timeline.js';

export function functionCommands(terminal: Terminal): Command {
  const list = new Command('list')
    .description('every function, archived ones included')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const functions = await client.functions.list();
      if (json) return printJson(terminal, { functions });
      if (functions.length === 0) {
        return terminal.print('no functions: an app registers its own when it starts');
      }
      printTable(
        terminal,
        ['FUNCTION', 'APP', 'MODE', 'STATUS', 'TRIGGERS', 'START WITHIN'],
        functions.map((definition) => [
          definition.id,
          definition.appId,
          definition.mode,
          definition.status,
          definition.triggers.map(describeTrigger).join(', '),
          definition.startDeadlineMs === undefined ? '' : formatDuration(definition.startDeadlineMs),
        ]),
      );
    });
  return new Command('functions')
    .description('what can run')
    .addCommand(list)
    .addCommand(replayCommand(terminal));
}

interface ReplayFlags extends ReplayFilter {
  dryRun: boolean;
  idempotencyKey?: string;
}

function replayCommand(terminal: Terminal): Command {
  return new Command('replay')
    .description('give stored events to one function, the newest first, at the rate that the platform allows')
    .argument('<function>', 'its id')
    .requiredOption('--event <name>', 'the name of the events')
    .option('--from <time>', 'received at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'received before', parseTime)
    .option('--idempotency-key <key>', 'the same key within 24 hours gives it no event a second time')
    .option('--dry-run', 'only count them', false)
    .action(async (functionId: string, flags: ReplayFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { dryRun, idempotencyKey, ...filter } = flags;
      const options = { dryRun, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
      const result = await client.functions.replay(functionId, filter, options);
      if (json) return printJson(terminal, result);
      terminal.print(`${result.count} events ${dryRun ? 'would be' : 'are'} replayed`);
    });
}

function describeTrigger(trigger: FunctionResource['triggers'][number]): string {
  if ('cron' in trigger) return `cron ${trigger.cron} ${trigger.timezone ?? ''}`.trim();
  return trigger.if === undefined ? trigger.event : `${trigger.event} if ${trigger.if}`;
}
