/** `ironflow functions list|show|pause|resume|limit|replay`. */
import { Command, InvalidArgumentError } from 'commander';
import type { FunctionResource, ReplayFilter } from '@ironflow/sdk';
import { describeFlowControl, describeStatus } from '../flow-control.js';
import { parseTime } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
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
        ['FUNCTION', 'APP', 'MODE', 'STATUS', 'TRIGGERS', 'START WITHIN', 'FLOW CONTROL'],
        functions.map((definition) => [
          definition.id,
          definition.appId,
          definition.mode,
          describeStatus(definition),
          definition.triggers.map(describeTrigger).join(', '),
          definition.startDeadlineMs === undefined ? '' : formatDuration(definition.startDeadlineMs),
          describeFlowControl(definition).join('; '),
        ]),
      );
    });
  return new Command('functions')
    .description('what can run')
    .addCommand(list)
    .addCommand(showCommand(terminal))
    .addCommand(pauseCommand(terminal, 'pause'))
    .addCommand(pauseCommand(terminal, 'resume'))
    .addCommand(limitCommand(terminal))
    .addCommand(replayCommand(terminal));
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('one function: its triggers, its limits, and whether it is paused')
    .argument('<function>', 'its id')
    .action(async (functionId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const definition = await client.functions.get(functionId);
      if (json) printJson(terminal, definition);
      else for (const line of describeFunction(definition)) terminal.print(line);
    });
}

function describeFunction(definition: FunctionResource): string[] {
  const { retries, timeoutMs, startDeadlineMs, concurrencyLimit } = definition;
  const fields: [string, string | undefined][] = [
    ['function', definition.id],
    ['app', `${definition.appId}, ${definition.mode}`],
    ['version', definition.hash],
    ['status', describeStatus(definition)],
    ['attempts', String(retries.attempts)],
    ['timeout', timeoutMs === undefined ? undefined : formatDuration(timeoutMs)],
    ['begins in', startDeadlineMs === undefined ? undefined : formatDuration(startDeadlineMs)],
    ...definition.triggers.map((trigger): [string, string] => ['trigger', describeTrigger(trigger)]),
    ...describeFlowControl(definition).map((rule): [string, string] => ['limit', rule]),
    [
      'limit',
      concurrencyLimit === undefined ? undefined : `concurrency ${concurrencyLimit}, set beside the code`,
    ],
  ];
  return fields.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name.padEnd(9)} ${plain(value)}`],
  );
}

function pauseCommand(terminal: Terminal, what: 'pause' | 'resume'): Command {
  return new Command(what)
    .description(
      what === 'pause'
        ? 'begin no more runs of a function: they queue; those that have begun go on to their end'
        : 'begin runs of a function again, those that have queued first',
    )
    .argument('<function>', 'its id')
    .action(async (functionId: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const definition = await client.functions[what](functionId);
      if (json) printJson(terminal, definition);
      else terminal.print(describeStatus(definition));
    });
}

function limitCommand(terminal: Terminal): Command {
  return new Command('limit')
    .description('bound a function beside what its code says; runs that come from now on go by it')
    .argument('<function>', 'its id')
    .requiredOption('--concurrency <n>', 'activations at once, or `none`', parseLimit)
    .action(async (functionId: string, limits: { concurrency: number | null }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const definition = await client.functions.setLimits(functionId, limits);
      if (json) printJson(terminal, definition);
      else for (const line of describeFunction(definition)) terminal.print(line);
    });
}

function parseLimit(text: string): number | null {
  if (text === 'none') return null;
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit > 0) return limit;
  throw new InvalidArgumentError('It must be a number from 1, or "none".');
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
