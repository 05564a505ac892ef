/** `ironflow config get|set|list|delete|watch`. */
import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '@ironflow/errors';
import { readData } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function configCommands(terminal: Terminal): Command {
  return new Command('config')
    .description('JSON documents that functions are configured by')
    .addCommand(getCommand(terminal))
    .addCommand(setCommand(terminal))
    .addCommand(listCommand(terminal))
    .addCommand(deleteCommand(terminal))
    .addCommand(watchCommand(terminal));
}

const nameArgument = ['<name>', 'such as pricing or pricing.eu'] as const;
const revisionOption = '--revision <n>';

function getCommand(terminal: Terminal): Command {
  return new Command('get')
    .description('the data of a document; with --json the document with its revision')
    .argument(...nameArgument)
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const document = await client.config.get(name);
      printJson(terminal, json ? document : document.data);
    });
}

interface SetFlags {
  fromFile?: string;
  revision?: number;
}

function setCommand(terminal: Terminal): Command {
  return new Command('set')
    .description('make a document, or replace it')
    .argument(...nameArgument)
    .argument('[data]', 'JSON; "-" reads it from standard input', '-')
    .option('--from-file <path>', 'the data is the JSON in this file')
    .option(revisionOption, 'only if it is at this revision now; 0: only if there is none', parseRevision)
    .action(async (name: string, argument: string, flags: SetFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { fromFile, ...options } = flags;
      const data = fromFile === undefined ? await readData(terminal, argument) : await readJson(fromFile);
      const document = await client.config.set(name, data, options);
      if (json) printJson(terminal, document);
      else terminal.print(`${document.name} revision ${document.revision}`);
    });
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('every document')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const documents = await client.config.list();
      if (json) return printJson(terminal, { documents });
      if (documents.length === 0) return terminal.print('no config documents');
      printTable(
        terminal,
        ['DOCUMENT', 'REVISION', 'UPDATED'],
        documents.map(({ name, revision, updatedAt }) => [name, String(revision), updatedAt]),
      );
    });
}

function deleteCommand(terminal: Terminal): Command {
  return new Command('delete')
    .description('remove a document')
    .argument(...nameArgument)
    .option(revisionOption, 'only if it is at this revision now', parseRevision)
    .action(async (name: string, flags: { revision?: number }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const deleted = await client.config.delete(name, flags);
      if (json) printJson(terminal, deleted);
      else terminal.print('deleted');
    });
}

function watchCommand(terminal: Terminal): Command {
  return new Command('watch')
    .description('a document now and as it changes, until it is interrupted; with --json an object a line')
    .argument(...nameArgument)
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      for await (const update of client.config.watch(name)) {
        const what = update.deleted === true ? 'deleted' : JSON.stringify(update.data);
        terminal.print(json ? JSON.stringify(update) : `revision ${update.revision} ${plain(what)}`);
      }
    });
}

function parseRevision(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a revision, as `config list` prints it.');
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new Error(`--from-file: ${messageOf(error)}`, { cause: error });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new Error(`--from-file: it is not JSON: ${messageOf(error)}`, { cause: error });
  }
}
