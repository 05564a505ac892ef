/** `ironflow outbox sql`. */
import { Command } from 'commander';
import { outboxSchema } from '@ironflow/sdk/outbox';
import { printJson } from '../output.js';
import { wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';

export function outboxCommands(terminal: Terminal): Command {
  const sql = new Command('sql')
    .description('the statements that make the table, for a migration of your database')
    .option('--table <name>', 'another name, such as shop.outbox', 'ironflow_outbox')
    .action(({ table }: { table: string }, command: Command) => {
      const schema = outboxSchema(table);
      if (wantsJson(command)) printJson(terminal, { table, sql: schema });
      else terminal.print(schema.trimEnd());
    });
  return new Command('outbox')
    .description('events that are emitted if a transaction of yours commits (@ironflow/sdk/outbox)')
    .addCommand(sql);
}
