#!/usr/bin/env node
/** `ironflow`: everything a user does from a terminal. Each command lives in a file of its own under commands/. */
import { Command } from 'commander';
import { platformCommands } from './commands/platform.js';
import { appCommands } from './commands/apps.js';
import { doctorCommand } from './commands/doctor.js';
import { eventCommands } from './commands/events.js';
import { functionCommands } from './commands/functions.js';
import { runCommands } from './commands/runs.js';
import { fail } from './output.js';

const program = new Command('ironflow')
  .description('Durable, event-driven workflows.')
  .version('0.1.0')
  .option('--url <url>', 'the platform; default: IRONFLOW_URL, then a local one')
  .option('--key <key>', 'an API key; default: IRONFLOW_API_KEY, then that of the platform in ./.ironflow')
  .option('--json', 'print JSON', false)
  .showHelpAfterError('(add --help for how to use it)')
  .configureHelp({ showGlobalOptions: true })
  .addHelpText(
    'after',
    `
Examples:
  ironflow dev --run "node app.js"      the platform beside your app
  ironflow emit order.placed '{"id": 7}' --wait 30s
  ironflow runs list --status failed
  ironflow runs show <run id>`,
  );

for (const command of [
  ...platformCommands(),
  appCommands(),
  ...eventCommands(),
  runCommands(),
  functionCommands(),
  doctorCommand(),
]) {
  program.addCommand(command);
}

await program.parseAsync().catch(fail);
