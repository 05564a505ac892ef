/** `ironflow`: everything a user does from a terminal. Each command lives in a file of its own under commands/. */
import { Command, CommanderError } from 'commander';
import { appCommands } from './commands/apps.js';
import { auditCommands } from './commands/audit.js';
import { backupCommands } from './commands/backup.js';
import { breakerCommands } from './commands/breakers.js';
import { credentialCommands } from './commands/credentials.js';
import { configCommands } from './commands/config.js';
import { deadLetterCommands } from './commands/dead-letters.js';
import { doctorCommand } from './commands/doctor.js';
import { environmentCommand } from './commands/environment.js';
import { eventCommands } from './commands/events.js';
import { keyCommands, signingKeyCommands } from './commands/keys.js';
import { operatorKeyCommands } from './commands/operator-keys.js';
import { functionCommands } from './commands/functions.js';
import { natsCommands } from './commands/nats.js';
import { kvCommands } from './commands/kv.js';
import { outboxCommands } from './commands/outbox.js';
import { platformCommands } from './commands/platform.js';
import { queuesCommand } from './commands/queues.js';
import { quotasCommands } from './commands/quotas.js';
import { retentionCommands } from './commands/retention.js';
import { runCommands } from './commands/runs.js';
import { scheduledEventCommands } from './commands/scheduled-events.js';
import { scheduleCommands } from './commands/schedules.js';
import { smokeTestCommand } from './commands/smoke-test.js';
import { tenantCommands } from './commands/tenants.js';
import { secretCommands } from './commands/secrets.js';
import { settingsCommands } from './commands/settings.js';
import { topicCommands } from './commands/topics.js';
import { webhookCommands } from './commands/webhooks.js';
import { printFailure } from './output.js';
import { ReportedFailure } from './reported-failure.js';
import type { Terminal } from './terminal.js';
import { cliVersion } from './version.js';

/** Answers with the exit code. `up` and `dev` go on after that, until they are interrupted. */
export async function runCli(args: string[], terminal: Terminal): Promise<number> {
  const json = args.includes('--json');
  try {
    await createProgram(terminal, json).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    // Commander and `doctor` have said what is wrong.
    if (error instanceof CommanderError) return error.exitCode;
    if (!(error instanceof ReportedFailure)) printFailure(terminal, error, json);
    return 1;
  }
}

const examples = `
Examples:
  ironflow dev --run "node app.js"               the platform beside your app
  ironflow emit order.placed '{"id": 7}' --wait 30s
  ironflow runs list --status failed
  ironflow runs show <run id>                    with its timeline
  ironflow cron show report.nightly              its next times, and what became of the last`;

function createProgram(terminal: Terminal, json: boolean): Command {
  const program = new Command('ironflow')
    .description('Durable, event-driven workflows.')
    .version(cliVersion)
    .option('--url <url>', 'the platform; default: IRONFLOW_URL, then the local one')
    .option('--key <key>', 'an API key; default: IRONFLOW_API_KEY, then that of the local platform')
    .option('--json', 'print JSON; errors too', false)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => terminal.print(text.trimEnd()),
      writeErr: (text) => terminal.printError(text.trimEnd()),
      outputError: (text) => printFailure(terminal, usageError(text), json),
    })
    .exitOverride()
    .addHelpText('after', examples);
  const commands = [
    ...platformCommands(terminal),
    appCommands(terminal),
    ...eventCommands(terminal),
    runCommands(terminal),
    topicCommands(terminal),
    deadLetterCommands(terminal),
    functionCommands(terminal),
    scheduleCommands(terminal),
    scheduledEventCommands(terminal),
    queuesCommand(terminal),
    environmentCommand(terminal),
    webhookCommands(terminal),
    credentialCommands(terminal),
    natsCommands(terminal),
    breakerCommands(terminal),
    auditCommands(terminal),
    backupCommands(terminal),
    quotasCommands(terminal),
    retentionCommands(terminal),
    secretCommands(terminal),
    configCommands(terminal),
    kvCommands(terminal),
    settingsCommands(terminal),
    outboxCommands(terminal),
    keyCommands(terminal),
    signingKeyCommands(terminal),
    tenantCommands(terminal),
    operatorKeyCommands(terminal),
    doctorCommand(terminal),
    smokeTestCommand(terminal),
  ];
  for (const command of commands) program.addCommand(command);
  inheritSettings(program);
  return program;
}

/** Commander does so only for commands that their parent makes. */
function inheritSettings(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    inheritSettings(command);
  }
}

function usageError(text: string): Error {
  return new Error(`${text.trim().replace(/^error: /, '')} (--help tells more)`);
}
