/** `ironflow dlq list|show|replay|replay-all|discard`. */
import { Command, Option } from 'commander';
import { storedLetterReasons } from '@ironflow/schema';
import type { DeadLetterDetail, DeadLetterFilter, DeadLettersQuery } from '@ironflow/sdk';
import { parsePageSize, parseTime } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function deadLetterCommands(terminal: Terminal): Command {
  return new Command('dlq')
    .description('dead letters: runs that failed, and messages that could not be processed; kept for 30 days')
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(replayCommand(terminal))
    .addCommand(replayAllCommand(terminal))
    .addCommand(discardCommand(terminal));
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('dead letters, newest first')
    .addOption(new Option('--reason <reason>', 'only those').choices(storedLetterReasons))
    .option('--from <time>', 'left at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'left before', parseTime)
    .option('--limit <n>', 'letters a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (query: Partial<DeadLettersQuery>, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const page = await client.deadLetters.list(query);
      if (json) return printJson(terminal, page);
      if (page.deadLetters.length === 0) return terminal.print('no dead letters');
      printTable(
        terminal,
        ['LETTER', 'REASON', 'OF', 'OCCURRED', 'REPLAYED'],
        page.deadLetters.map((letter) => [
          letter.id,
          letter.reason,
          letter.functionId ?? letter.runId ?? letter.subject ?? '',
          letter.occurredAt,
          letter.replayedAt ?? '',
        ]),
      );
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

const letterId = '<letter id>';
const whereFrom = 'as `dlq list` prints it';

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('one dead letter, with its message as it came or its run’s error')
    .argument(letterId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const letter = await client.deadLetters.get(id);
      if (json) printJson(terminal, letter);
      else for (const line of describeLetter(letter)) terminal.print(line);
    });
}

function replayCommand(terminal: Terminal): Command {
  return new Command('replay')
    .description('try again, once: repeat the run, or send the message to its stream again')
    .argument(letterId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const replay = await client.deadLetters.replay(id);
      if (json) return printJson(terminal, replay);
      terminal.print(`replayed ${replay.replayedAt}`);
      if (replay.runId !== undefined) terminal.print(`run      ${replay.runId}`);
    });
}

function replayAllCommand(terminal: Terminal): Command {
  return new Command('replay-all')
    .description(
      'replay all letters that a filter finds and that were not replayed yet, the newest first, at the rate that the platform allows',
    )
    .addOption(new Option('--reason <reason>', 'only those').choices(storedLetterReasons))
    .option('--function <id>', 'only failed runs of this function')
    .option('--from <time>', 'left at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'left before', parseTime)
    .option('--dry-run', 'only count them', false)
    .action(async (flags: DeadLetterFilter & { dryRun: boolean }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { dryRun, ...filter } = flags;
      const { count, skipped } = await client.deadLetters.replayAll(filter, { dryRun });
      if (json) return printJson(terminal, { count, skipped });
      if (dryRun) return terminal.print(`${count} letters would be replayed`);
      terminal.print(`${count} letters are replayed`);
      if (skipped > 0) terminal.print(`${skipped} cannot be replayed`);
    });
}

function discardCommand(terminal: Terminal): Command {
  return new Command('discard')
    .description('remove a dead letter; its run and its event stay')
    .argument(letterId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const discarded = await client.deadLetters.discard(id);
      if (json) printJson(terminal, discarded);
      else terminal.print('discarded');
    });
}

function describeLetter(letter: DeadLetterDetail): string[] {
  const { error, payload, payloadEncoding } = letter;
  const fields: [string, string | undefined][] = [
    ['letter', letter.id],
    ['reason', `${letter.reason}: ${letter.detail}`],
    ['run', letter.runId],
    ['function', letter.functionId],
    ['subject', letter.subject],
    ['occurred', letter.occurredAt],
    ['replayed', letter.replayedAt],
    ['error', error && `${error.name}: ${error.message}`],
    ['message', payload === undefined ? undefined : `${payload} (${payloadEncoding})`],
  ];
  return fields.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name.padEnd(9)} ${plain(value)}`],
  );
}
