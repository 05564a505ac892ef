/** `ironflow secrets set|list|show|delete|import|rotate-data-key|rewrap`. A value is no argument: those are in histories and lists of processes. */
import { readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { secretNameSchema } from '@ironflow/schema';
import type { Secret } from '@ironflow/sdk';
import { runRewrap } from '../installation/run-rewrap.js';
import { printJson, printTable } from '../output.js';
import { openSession, wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';

export function secretCommands(terminal: Terminal): Command {
  return new Command('secrets')
    .description('values for functions that nobody else is to see; no command prints one')
    .addCommand(setCommand(terminal))
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(deleteCommand(terminal))
    .addCommand(importCommand(terminal))
    .addCommand(rotateCommand(terminal))
    .addCommand(rewrapCommand(terminal));
}

const nameArgument = ['<name>', 'A-Z, 0-9 and "_", such as STRIPE_KEY'] as const;

const setExamples = `
Examples:
  ironflow secrets set STRIPE_KEY                     asks for the value, and does not show it
  pass show stripe | ironflow secrets set STRIPE_KEY
  ironflow secrets set TLS_KEY --from-file key.pem`;

function setCommand(terminal: Terminal): Command {
  return new Command('set')
    .description('set a value, from standard input or a file; a line break at its end is left out')
    .argument(...nameArgument)
    .option('--from-file <path>', 'the value is what is in this file')
    .addHelpText('after', setExamples)
    .action(async (name: string, flags: { fromFile?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      // Before a value is asked for that nobody could take.
      requireName(name);
      const text =
        flags.fromFile === undefined
          ? await terminal.readHidden(`value of ${name}: `)
          : await readText(flags.fromFile);
      const value = text.replace(/\r?\n$/, '');
      if (value === '') throw new Error('the value is empty: nothing was set');
      const secret = await client.secrets.set(name, value);
      if (json) printJson(terminal, secret);
      else terminal.print(`${secret.name} version ${secret.version}`);
    });
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('every secret: names and versions')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const secrets = await client.secrets.list();
      if (json) return printJson(terminal, { secrets });
      if (secrets.length === 0) return terminal.print('no secrets');
      printTable(
        terminal,
        ['SECRET', 'VERSION', 'SET'],
        secrets.map(({ name, version, updatedAt }) => [name, String(version), updatedAt]),
      );
    });
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('the versions of one secret that are kept')
    .argument(...nameArgument)
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const secret = await client.secrets.describe(name);
      if (json) return printJson(terminal, secret);
      printTable(
        terminal,
        ['VERSION', 'SET'],
        secret.versions.map(({ version, createdAt }) => [String(version), createdAt]),
      );
    });
}

function deleteCommand(terminal: Terminal): Command {
  return new Command('delete')
    .description('remove a secret with all its versions')
    .argument(...nameArgument)
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const deleted = await client.secrets.delete(name);
      if (json) printJson(terminal, deleted);
      else terminal.print('deleted');
    });
}

function importCommand(terminal: Terminal): Command {
  return new Command('import')
    .description('set every variable of a file such as .env')
    .requiredOption('--from-file <path>', 'lines of NAME=value')
    .action(async (flags: { fromFile: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const variables = Object.entries(parseEnv(await readText(flags.fromFile))) as [string, string][];
      // All of them before the first is set.
      for (const [name, value] of variables) {
        requireName(name);
        if (value === '') throw new Error(`${name} has no value: nothing was set`);
      }
      const secrets: Secret[] = [];
      for (const [name, value] of variables) {
        const secret = await client.secrets.set(name, value);
        secrets.push(secret);
        if (!json) terminal.print(`${secret.name} version ${secret.version}`);
      }
      if (json) printJson(terminal, { secrets });
      else if (secrets.length === 0) terminal.print('no variables in the file');
    });
}

function rotateCommand(terminal: Terminal): Command {
  return new Command('rotate-data-key')
    .description('seal everything of the environment with a new data key; no value changes')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const rotated = await client.secrets.rotateDataKey();
      if (json) printJson(terminal, rotated);
      else terminal.print(`data key ${rotated.version}: ${rotated.resealed} values are sealed with it`);
    });
}

function rewrapCommand(terminal: Terminal): Command {
  return new Command('rewrap')
    .description(
      'for operators: wrap every key in the database of DATABASE_URL by the first of IRONFLOW_MASTER_KEY, so that the others can be dropped',
    )
    .action(async (_flags: unknown, command: Command) => {
      const { dataKeys, platformKeys, unreadable } = await runRewrap({ env: terminal.env });
      if (wantsJson(command)) printJson(terminal, { dataKeys, platformKeys, unreadable });
      else terminal.print(`wrapped anew: ${dataKeys} data keys, ${platformKeys} keys of the platform`);
      if (unreadable === 0) return;
      throw new Error(
        `${unreadable} data keys are wrapped by a master key that was not given: keep that one`,
      );
    });
}

function requireName(name: string): void {
  const parsed = secretNameSchema.safeParse(name);
  // Not the name itself: it may be a value that came to the wrong place.
  if (!parsed.success) throw new Error(`the name of a secret ${parsed.error.issues[0]!.message}`);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new Error(`--from-file: ${messageOf(error)}`, { cause: error });
  }
}
