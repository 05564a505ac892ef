/** `ironflow credentials create|list|revoke`: for NATS clients that emit events. */
import { rm, writeFile } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import { parseLongDuration } from '../input.js';
import type { LongDuration } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function credentialCommands(terminal: Terminal): Command {
  return new Command('credentials')
    .description('credentials for NATS, with which events are emitted by publishing them')
    .addCommand(createCommand(terminal))
    .addCommand(listCommand(terminal))
    .addCommand(revokeCommand(terminal));
}

interface CreateFlags {
  out?: string;
  expiresIn?: LongDuration;
}

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('make credentials; the creds file is written or printed once, and not shown again')
    .argument('<name>', 'for people, and for the monitoring of the servers', parseName)
    .option('--out <file>', 'write the creds file there, for its owner alone; it must not be there')
    .option('--expires-in <duration>', 'such as 30d, at most 365d; default: 90d', parseLongDuration)
    .action(async (name: string, { out, expiresIn }: CreateFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      // Before there are credentials that nobody could keep.
      if (out !== undefined) await writeFile(out, '', { mode: 0o600, flag: 'wx' });
      const created = await client.credentials
        .create({ name, ...(expiresIn === undefined ? {} : { expiresIn }) })
        .catch(async (error: unknown) => {
          if (out !== undefined) await rm(out);
          throw error;
        });
      const { credentials: text, ...credential } = created;
      if (out === undefined) {
        if (json) printJson(terminal, created);
        else terminal.print(text.trimEnd());
        return;
      }
      await writeFile(out, text);
      if (json) return printJson(terminal, { ...credential, file: out });
      terminal.print(`id        ${credential.id}`);
      terminal.print(`expires   ${credential.expiresAt}`);
      terminal.print(`publish   ${credential.subject}`);
      terminal.print(`file      ${plain(out)}   (not shown again)`);
    });
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('credentials that have not expired, newest first')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const credentials = await client.credentials.list();
      if (json) return printJson(terminal, { credentials });
      if (credentials.length === 0) return terminal.print('no credentials');
      printTable(
        terminal,
        ['ID', 'NAME', 'STATUS', 'CREATED', 'EXPIRES'],
        credentials.map(({ id, name, status, createdAt, expiresAt }) => [
          id,
          name,
          status,
          createdAt,
          expiresAt,
        ]),
      );
    });
}

function revokeCommand(terminal: Terminal): Command {
  return new Command('revoke')
    .description('close the connections of credentials at once, and let them in no more')
    .argument('<id>', 'as `credentials list` prints it')
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const credential = await client.credentials.revoke(id);
      if (json) printJson(terminal, credential);
      else terminal.print(credential.status);
    });
}

function parseName(text: string): string {
  if (/^[\x20-\x7e]{1,100}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 100 characters of printable ASCII.');
}
