/** `ironflow functions list`. */
import { Command } from 'commander';
import { print, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';

export function functionCommands(): Command {
  const list = new Command('list')
    .description('every function, archived ones included')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command);
      const functions = await client.functions.list();
      if (json) return printJson({ functions });
      if (functions.length === 0) return print('no functions: register an app first');
      printTable(
        ['FUNCTION', 'APP', 'MODE', 'STATUS', 'TRIGGERS'],
        functions.map((definition) => [
          definition.id,
          definition.appId,
          definition.mode,
          definition.status,
          definition.triggers
            .map((trigger) =>
              'cron' in trigger ? `cron ${trigger.cron} ${trigger.timezone}` : trigger.event,
            )
            .join(', '),
        ]),
      );
    });
  return new Command('functions').description('what can run').addCommand(list);
}
