/** `ironflow operator-keys generate|list|create|revoke`. */
import { Command } from 'commander';
import { parseTime } from '../input.js';
import { loadDatabase } from '../installed-parts.js';
import { printJson, printTable } from '../output.js';
import { openOperatorSession, wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';

export function operatorKeyCommands(terminal: Terminal): Command {
  return new Command('operator-keys')
    .description('keys of those who run the platform: IRONFLOW_OPERATOR_KEY')
    .addCommand(generateCommand(terminal))
    .addCommand(listCommand(terminal))
    .addCommand(createCommand(terminal))
    .addCommand(revokeCommand(terminal));
}

function generateCommand(terminal: Terminal): Command {
  return new Command('generate')
    .description('print a fresh key for IRONFLOW_OPERATOR_KEY of the api service; nothing is stored')
    .action(async (_flags: unknown, command: Command) => {
      const { generateOperatorKey } = await loadDatabase();
      const key = generateOperatorKey();
      if (wantsJson(command)) printJson(terminal, { key });
      else terminal.print(key);
    });
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('every key but that of the configuration')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      const operatorKeys = await client.operatorKeys.list();
      if (json) return printJson(terminal, { operatorKeys });
      if (operatorKeys.length === 0)
        return terminal.print('no keys of operators but that of the configuration');
      printTable(
        terminal,
        ['KEY', 'NAME', 'STATUS', 'CREATED', 'EXPIRES'],
        operatorKeys.map(({ id, name, status, createdAt, expiresAt }) => [
          id,
          name,
          status,
          createdAt,
          expiresAt ?? '',
        ]),
      );
    });
}

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('make a key for another operator; prints it, once')
    .argument('<name>', 'whose it is')
    .option('--expires <time>', 'a time such as 2030-01-31T12:00:00Z', parseTime)
    .action(async (name: string, { expires }: { expires?: string }, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      const expiresAt = expires === undefined ? {} : { expiresAt: expires };
      const created = await client.operatorKeys.create({ name, ...expiresAt });
      if (json) return printJson(terminal, created);
      terminal.print(`key id  ${created.id}`);
      terminal.print(`key     ${created.key}   (not shown again)`);
    });
}

function revokeCommand(terminal: Terminal): Command {
  return new Command('revoke')
    .description('end a key at once')
    .argument('<key id>', 'as `operator-keys list` prints it')
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      const key = await client.operatorKeys.revoke(id);
      if (json) printJson(terminal, key);
      else terminal.print('revoked');
    });
}
