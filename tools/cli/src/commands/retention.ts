/** `ironflow retention show|set`. */
import { Command, InvalidArgumentError } from 'commander';
import { retentionDays } from '@ironflow/schema';
import type { RetentionResource } from '@ironflow/sdk';
import { printJson } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function retentionCommands(terminal: Terminal): Command {
  return new Command('retention')
    .description('for how long the environment keeps events, and runs once they have ended')
    .addCommand(showCommand(terminal))
    .addCommand(setCommand(terminal));
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('for how many days')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      print(terminal, json, await client.retention.get());
    });
}

function setCommand(terminal: Terminal): Command {
  return new Command('set')
    .description('what is older is removed within hours and does not come back. Takes a key of role admin')
    .argument('<days>', `from ${retentionDays.min} on, or \`default\`: as the installation does`, parseDays)
    .action(async (days: number | null, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      print(terminal, json, await client.retention.set(days));
    });
}

function parseDays(text: string): number | null {
  if (text === 'default') return null;
  const days = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (days >= retentionDays.min && days <= retentionDays.max) return days;
  const rule = `It must be a number from ${retentionDays.min} to ${retentionDays.max}, or "default".`;
  throw new InvalidArgumentError(rule);
}

function print(terminal: Terminal, json: boolean, retention: RetentionResource): void {
  if (json) return printJson(terminal, retention);
  const { days } = retention;
  terminal.print(days === null ? 'as the installation does' : `${days} days`);
}
