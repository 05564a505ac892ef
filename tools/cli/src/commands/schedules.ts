/** `ironflow cron list|show|pause|resume|trigger|backfill`. */
import { Command } from 'commander';
import type { Schedule } from '@ironflow/sdk';
import { parsePageSize, parseTime } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Session } from '../session.js';
import type { Terminal } from '../terminal.js';
import { formatDuration } from '../timeline.js';

export function scheduleCommands(terminal: Terminal): Command {
  return new Command('cron')
    .description('schedules: the cron triggers of functions')
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(changeCommand(terminal, 'pause'))
    .addCommand(changeCommand(terminal, 'resume'))
    .addCommand(triggerCommand(terminal))
    .addCommand(backfillCommand(terminal));
}

interface ListFlags {
  function?: string;
  limit: number;
  cursor?: string;
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('schedules, each with its next time')
    .option('--function <id>', 'only those of this function')
    .option('--limit <n>', 'schedules a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (query: ListFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const page = await client.schedules.list(query);
      if (json) return printJson(terminal, page);
      if (page.schedules.length === 0) return terminal.print('no schedules');
      printTable(
        terminal,
        ['SCHEDULE', 'CRON', 'TIMEZONE', 'STATUS', 'NEXT', 'LAST', 'GIVEN UP'],
        page.schedules.map((schedule) => [
          schedule.id,
          schedule.cron,
          schedule.timezone,
          schedule.status,
          schedule.next[0] ?? '',
          schedule.lastFiring?.scheduledAt ?? '',
          schedule.givenUp.count === 0 ? '' : String(schedule.givenUp.count),
        ]),
      );
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

const scheduleId = '<schedule>';
const whereFrom = 'its id, as `cron list` prints it';

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('one schedule with its next 5 times, its last firing and the times that were given up')
    .argument(scheduleId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const session = openSession(command, terminal);
      printSchedule(terminal, session, await session.client.schedules.get(id));
    });
}

const changes = {
  pause: 'fire no time from now on; runs that are under way go on',
  resume: 'fire the times that come from now on; those that were paused only by `cron backfill`',
};

function changeCommand(terminal: Terminal, how: keyof typeof changes): Command {
  return new Command(how)
    .description(changes[how])
    .argument(scheduleId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const session = openSession(command, terminal);
      printSchedule(terminal, session, await session.client.schedules[how](id));
    });
}

function triggerCommand(terminal: Terminal): Command {
  return new Command('trigger')
    .description('start its function now, as if a time had come; also while it is paused')
    .argument(scheduleId, whereFrom)
    .option('--idempotency-key <key>', 'the same key within 24 hours starts nothing a second time')
    .action(async (id: string, flags: { idempotencyKey?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const answer = await client.schedules.trigger(id, flags);
      if (json) printJson(terminal, answer);
      else terminal.print(`event ${answer.ids[0]}`);
    });
}

interface BackfillFlags {
  from: string;
  to: string;
  dryRun: boolean;
}

function backfillCommand(terminal: Terminal): Command {
  return new Command('backfill')
    .description(
      'fire the times of a range of the past that were not fired, the oldest first, at the rate that the platform allows',
    )
    .argument(scheduleId, whereFrom)
    .requiredOption('--from <time>', 'times at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .requiredOption('--to <time>', 'times before; at most 10,000 of them, and none in the future', parseTime)
    .option('--dry-run', 'only count them', false)
    .action(async (id: string, { from, to, dryRun }: BackfillFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const result = await client.schedules.backfill(id, { from, to }, { dryRun });
      if (json) return printJson(terminal, result);
      terminal.print(`${result.count} times ${dryRun ? 'would be' : 'are'} fired`);
      if (result.skipped > 0) terminal.print(`${result.skipped} had been fired before`);
    });
}

function printSchedule(terminal: Terminal, { json }: Session, schedule: Schedule): void {
  if (json) printJson(terminal, schedule);
  else for (const line of describeSchedule(schedule)) terminal.print(line);
}

function describeSchedule(schedule: Schedule): string[] {
  const { lastFiring, givenUp, jitterMs, pausedAt } = schedule;
  const fields: [string, string | undefined][] = [
    ['schedule', schedule.id],
    ['function', schedule.functionId],
    ['cron', `${schedule.cron} ${schedule.timezone}`],
    ['status', pausedAt === undefined ? schedule.status : `${schedule.status} since ${pausedAt}`],
    ['jitter', jitterMs === undefined ? undefined : `less than ${formatDuration(jitterMs)}`],
    ['overlap', schedule.overlap],
    ['catch up', `within ${formatDuration(schedule.catchUpMs)}`],
    [
      'last',
      lastFiring &&
        `${lastFiring.scheduledAt}, fired ${lastFiring.firedAt} (${formatDuration(lastFiring.lateMs)} late)`,
    ],
    ['given up', givenUp.count === 0 ? undefined : `${givenUp.count}, the last of ${givenUp.lastAt}`],
    ...schedule.next.map((time, index): [string, string] => [index === 0 ? 'next' : '', time]),
  ];
  return fields.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name.padEnd(9)} ${plain(value)}`],
  );
}
