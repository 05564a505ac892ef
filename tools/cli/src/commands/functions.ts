/** `ironflow functions list`. */
import { Command } from 'commander';
import type { FunctionResource } from '@ironflow/sdk';
import { printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

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
        ['FUNCTION', 'APP', 'MODE', 'STATUS', 'TRIGGERS'],
        functions.map((definition) => [
          definition.id,
          definition.appId,
          definition.mode,
          definition.status,
          definition.triggers.map(describeTrigger).join(', '),
        ]),
      );
    });
  return new Command('functions').description('what can run').addCommand(list);
}

function describeTrigger(trigger: FunctionResource['triggers'][number]): string {
  if ('cron' in trigger) return `cron ${trigger.cron} ${trigger.timezone ?? ''}`.trim();
  return trigger.if === undefined ? trigger.event : `${trigger.event} if ${trigger.if}`;
}
