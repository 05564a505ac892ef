/** `ironflow scheduled list|cancel`. */
import { Command } from 'commander';
import { parsePageSize } from '../input.js';
import { printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function scheduledEventCommands(terminal: Terminal): Command {
  return new Command('scheduled')
    .description('events that are to come later: `emit --at`')
    .addCommand(listCommand(terminal))
    .addCommand(cancelCommand(terminal));
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('events that are not due yet, the next one first')
    .option('--limit <n>', 'events a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (query: { limit: number; cursor?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const page = await client.scheduledEvents.list(query);
      if (json) return printJson(terminal, page);
      if (page.events.length === 0) return terminal.print('no scheduled events');
      printTable(
        terminal,
        ['EVENT', 'NAME', 'AT', 'ACCEPTED'],
        page.events.map((event) => [event.id, event.name, event.at, event.acceptedAt]),
      );
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

function cancelCommand(terminal: Terminal): Command {
  return new Command('cancel')
    .description('never deliver an event that is not due yet')
    .argument('<event id>', 'as `scheduled list` prints it')
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const cancelled = await client.scheduledEvents.cancel(id);
      if (json) printJson(terminal, cancelled);
      else terminal.print('cancelled');
    });
}
