/** `ironflow settings export|diff|apply|promote`: an environment as `ironflow.yaml` says it is to be. */
import { readFile, writeFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '@ironflow/errors';
import type { Settings } from '@ironflow/schema';
import { createClient } from '@ironflow/sdk';
import type { Client, CreatedWebhook, OperatorClient } from '@ironflow/sdk';
import { plain, printJson } from '../output.js';
import { ReportedFailure } from '../reported-failure.js';
import { openOperatorSession, openSession } from '../session.js';
import { formatSettings, parseSettings } from '../settings/document.js';
import { applyChange, readSettings } from '../settings/environment.js';
import { differencesOf, planSettings } from '../settings/plan.js';
import type { Change, Plan } from '../settings/plan.js';
import type { Terminal } from '../terminal.js';

const examples = `
ironflow.yaml:
  version: 1
  config: { pricing: { currency: EUR } }
  kv: { sessions: { ttlSeconds: 3600 } }
  webhooks: { github: { provider: github } }
  functions: { send-invoice: { paused: true, concurrency: 5 } }
  schedules: { report.nightly: { paused: true } }
  secrets: [STRIPE_KEY]               names that have to be set
  retention: { days: 90 }             for keys of role admin
  quotas: { eventsPerSecond: 500 }    for operators: IRONFLOW_OPERATOR_KEY`;

export function settingsCommands(terminal: Terminal): Command {
  return new Command('settings')
    .description('what an environment is to be like, declared in ironflow.yaml')
    .addCommand(exportCommand(terminal))
    .addCommand(diffCommand(terminal))
    .addCommand(applyCommand(terminal))
    .addCommand(promoteCommand(terminal))
    .addHelpText('after', examples);
}

const fileArgument = ['[file]', 'what is wanted', 'ironflow.yaml'] as const;
const pruneOption = [
  '--prune',
  'remove what the file’s sections config, kv, webhooks and quotas do not name',
] as const;

function exportCommand(terminal: Terminal): Command {
  return new Command('export')
    .description('the settings as they are, as a file that `apply` takes; no values of secrets')
    .option('--output <file>', 'write them to a new file')
    .action(async ({ output }: { output?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { settings } = await readSettings(client);
      const text = json ? `${JSON.stringify(settings, null, 2)}\n` : formatSettings(settings);
      if (output === undefined) return terminal.print(text.trimEnd());
      await writeFile(output, text, { flag: 'wx' });
      terminal.print(`written to ${output}`);
    });
}

interface PlanFlags {
  prune?: boolean;
}

function diffCommand(terminal: Terminal): Command {
  return new Command('diff')
    .description('what `apply` would change')
    .argument(...fileArgument)
    .option(...pruneOption)
    .option('--exit-code', 'fail if anything would change, or could not')
    .action(
      async (
        file: string,
        { prune = false, exitCode = false }: PlanFlags & { exitCode?: boolean },
        command: Command,
      ) => {
        const { client, json } = openSession(command, terminal);
        const wanted = await readWanted(file);
        const { settings } = await readSettings(client);
        const plan = planSettings(settings, wanted, { prune });
        if (json) printJson(terminal, plan);
        else printPlan(terminal, plan);
        const isSettled = plan.changes.length === 0 && plan.obstacles.length === 0;
        if (exitCode && !isSettled) throw new ReportedFailure();
      },
    );
}

interface ApplyFlags extends PlanFlags {
  yes?: boolean;
}

function applyCommand(terminal: Terminal): Command {
  return new Command('apply')
    .description(
      'show what would change, ask, and change it; a change that fails is named, those before it stay',
    )
    .argument(...fileArgument)
    .option(...pruneOption)
    .option('--yes', 'do not ask')
    .action(async (file: string, flags: ApplyFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const wanted = await readWanted(file);
      await settle(terminal, { client, wanted, json, flags, command });
    });
}

const promotable = ['config', 'kv', 'webhooks', 'secrets'] as const;
type Promotable = (typeof promotable)[number];

interface PromoteFlags extends ApplyFlags {
  toEnvFile: string;
  only?: Promotable[];
}

function promoteCommand(terminal: Terminal): Command {
  return new Command('promote')
    .description('bring config, KV buckets and webhooks of this environment to another, as `apply` does')
    .requiredOption(
      '--to-env-file <file>',
      'the other one: a file with its IRONFLOW_URL and IRONFLOW_API_KEY, as `tenants create` writes it',
    )
    .option(
      '--only <sections>',
      `of ${promotable.join(', ')}, separated by commas; secrets: that their names are set`,
      parseSections,
    )
    .option(...pruneOption)
    .option('--yes', 'do not ask')
    .action(async ({ toEnvFile, only = [...promotable], ...flags }: PromoteFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const other = await openEnvFile(toEnvFile);
      const { settings } = await readSettings(client);
      const sections = Object.fromEntries(only.map((section) => [section, settings[section]]));
      const wanted: Settings = { version: 1, ...sections };
      await settle(terminal, { client: other, wanted, json, flags, command });
    });
}

async function settle(
  terminal: Terminal,
  of: { client: Client; wanted: Settings; json: boolean; flags: ApplyFlags; command: Command },
): Promise<void> {
  const { client, wanted, json, flags, command } = of;
  const { settings, revisions } = await readSettings(client);
  const plan = planSettings(settings, wanted, { prune: flags.prune ?? false });
  if (!json) printPlan(terminal, plan);
  if (plan.obstacles.length > 0) {
    const names = plan.obstacles.map(({ section, name }) => `${section} ${name}`);
    throw new Error(`nothing was changed: see to ${names.join(', ')} first`);
  }
  // Before anything is changed: who may not change them is told so now.
  const operator = plan.changes.some(({ section }) => section === 'quotas')
    ? openOperatorSession(command, terminal).client
    : undefined;
  if (plan.changes.length > 0 && flags.yes !== true) {
    terminal.printError('Type yes to go on:');
    if ((await terminal.readInput()).trim() !== 'yes') throw new Error('nothing was changed');
  }
  const webhooks: CreatedWebhook[] = [];
  const target = {
    ...{ client, revisions, operator: (): OperatorClient => operator! },
    onWebhook: (made: CreatedWebhook): void => void webhooks.push(made),
  };
  let applied = 0;
  try {
    for (const change of plan.changes) {
      await applyChange(target, change).catch((error: unknown) => {
        throw new Error(`${change.section} ${change.name}: ${messageOf(error)}`, { cause: error });
      });
      applied += 1;
    }
  } finally {
    if (json) printJson(terminal, { ...plan, applied, webhooks });
    else printApplied(terminal, applied, webhooks);
  }
}

function printApplied(terminal: Terminal, applied: number, webhooks: readonly CreatedWebhook[]): void {
  if (applied > 0) terminal.print(`${applied} applied`);
  for (const { id, url, secret = '' } of webhooks) {
    terminal.print(`webhook ${id}: ${url}, secret ${secret} (not shown again)`);
  }
}

function printPlan(terminal: Terminal, { changes, obstacles }: Plan): void {
  for (const change of changes) for (const line of linesOf(change)) terminal.print(plain(line));
  for (const { section, name, reason } of obstacles) terminal.print(plain(`! ${section} ${name} ${reason}`));
  if (changes.length === 0 && obstacles.length === 0) terminal.print('nothing to change');
}

function linesOf({ section, name, kind, before, after }: Change): string[] {
  if (kind === 'create') return [`+ ${section} ${name}: ${shown(after)}`];
  if (kind === 'delete') return [`- ${section} ${name}`];
  return differencesOf(before, after).map(
    ({ path, before: was, after: is }) =>
      `~ ${section} ${name}${path === '' ? '' : ` ${path}`}: ${shown(was)} → ${shown(is)}`,
  );
}

const shownMax = 100;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'none';
  return text.length <= shownMax ? text : `${text.slice(0, shownMax)}…`;
}

async function readWanted(file: string): Promise<Settings> {
  return parseSettings(await readFile(file, 'utf8'), file);
}

async function openEnvFile(file: string): Promise<Client> {
  const { IRONFLOW_URL: ironflowUrl, IRONFLOW_API_KEY: apiKey } = parseEnv(await readFile(file, 'utf8'));
  if (!ironflowUrl || !apiKey) throw new Error(`${file}: must have IRONFLOW_URL and IRONFLOW_API_KEY`);
  return createClient({ ironflowUrl, apiKey });
}

function parseSections(text: string): Promotable[] {
  return text.split(',').map((name) => {
    const section = promotable.find((one) => one === name.trim());
    if (section === undefined) throw new InvalidArgumentError(`It must be of ${promotable.join(', ')}.`);
    return section;
  });
}
