/** `ironflow tenants create|list|show|archive|restore|delete`, for operators. */
import { open } from 'node:fs/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { slugSchema, tenantStates } from '@ironflow/schema';
import type { NewTenant, Tenant, TenantCredentials, TenantPath, TenantsQuery } from '@ironflow/sdk';
import { parsePageSize } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openOperatorSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function tenantCommands(terminal: Terminal): Command {
  return new Command('tenants')
    .description('projects and their environments, for operators: IRONFLOW_OPERATOR_KEY')
    .addCommand(createCommand(terminal))
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(changeCommand(terminal, 'archive', 'refuse its keys; no run begins and no schedule fires'))
    .addCommand(changeCommand(terminal, 'restore', 'bring back one that is archived or deleted'))
    .addCommand(deleteCommand(terminal));
}

interface ProjectPath {
  organization?: string;
  project: string;
}

interface CreateFlags {
  env?: string[];
  newKeys?: boolean;
  envFile?: string;
}

const createExamples = `
Examples:
  ironflow tenants create acme/shop                       environments prod and staging
  ironflow tenants create acme/shop --env prod --env-file shop.env
  ironflow tenants create acme/shop --env prod --new-keys   after its keys were lost`;

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('make a project and its environments, as far as they are not there; prints their keys, once')
    .argument('<path>', 'organization/project, or project alone', parseProjectPath)
    .option('--env <names>', 'environments, separated by commas; default: prod,staging', parseNames)
    .option('--new-keys', 'another API key for those that are there already')
    .option(
      '--env-file <file>',
      'write what an app needs into a new file for its owner alone, instead of printing it; takes one environment',
    )
    .addHelpText('after', createExamples)
    .action(async (path: ProjectPath, { env, newKeys = false, envFile }: CreateFlags, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      if (envFile !== undefined && env?.length !== 1) {
        throw new Error('--env-file: name the one environment that it is for with --env');
      }
      const environments = env === undefined ? {} : { environments: env };
      const tenant: NewTenant = { ...path, ...environments, newKeys };
      // Before anything is made: keys that cannot be written down would be lost.
      const file = envFile === undefined ? undefined : await open(envFile, 'wx', 0o600);
      try {
        const created = await client.tenants.create(tenant);
        if (file !== undefined) {
          await file.writeFile(envFileOf(created));
          terminal.print(`written to ${envFile}`);
        } else if (json) printJson(terminal, created);
        else printCredentials(terminal, created);
      } finally {
        await file?.close();
      }
    });
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('every environment, newest first')
    .addOption(
      new Option('--state <state>', 'only those; default: all that are not erased').choices(tenantStates),
    )
    .option('--limit <n>', 'a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (query: Partial<TenantsQuery>, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      const page = await client.tenants.list(query);
      if (json) return printJson(terminal, page);
      if (page.tenants.length === 0) return terminal.print('no tenants');
      printTenants(terminal, page.tenants);
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('one project with its environments')
    .argument('<path>', 'organization/project, or project alone', parseProjectPath)
    .action(async ({ organization, project: slug }: ProjectPath, _flags: unknown, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      const project = await client.tenants.get(slug);
      if (organization !== undefined && organization !== project.organization) {
        throw new Error(`the project "${slug}" belongs to "${project.organization}"`);
      }
      if (json) printJson(terminal, project);
      else printTenants(terminal, project.environments);
    });
}

function changeCommand(terminal: Terminal, name: 'archive' | 'restore', description: string): Command {
  return new Command(name)
    .description(description)
    .argument('<path>', 'organization/project/environment, or without the organization', parseTenantPath)
    .action(async (path: TenantPath, _flags: unknown, command: Command) => {
      const { client, json } = openOperatorSession(command, terminal);
      const tenant = await client.tenants[name](path);
      if (json) printJson(terminal, tenant);
      else terminal.print(tenant.state);
    });
}

function deleteCommand(terminal: Terminal): Command {
  return new Command('delete')
    .description('archive an environment, and erase all of it once its grace has ended')
    .argument('<path>', 'organization/project/environment, or without the organization', parseTenantPath)
    .option('--grace <days>', 'for how long it can be restored; 0: an hour', parseDays, 30)
    .option('--confirm <path>', 'its path once more, instead of being asked for it')
    .action(
      async (
        path: TenantPath & { text: string },
        { grace, confirm }: { grace: number; confirm?: string },
        command: Command,
      ) => {
        const { client, json } = openOperatorSession(command, terminal);
        if (confirm === undefined) {
          terminal.printError(`All of ${path.text} is erased in ${grace} days. Type its path to go on:`);
        }
        const typed = confirm ?? (await terminal.readInput());
        if (typed.trim() !== path.text) throw new Error('nothing was deleted: that is another path');
        const { project, env } = path;
        const tenant = await client.tenants.delete({ project, env }, { graceDays: grace });
        if (json) printJson(terminal, tenant);
        else terminal.print(`archived; erased after ${tenant.eraseAfter ?? ''}`);
      },
    );
}

function printTenants(terminal: Terminal, tenants: readonly Tenant[]): void {
  printTable(
    terminal,
    ['ENVIRONMENT', 'STATE', 'CREATED', 'ERASED'],
    tenants.map(({ organization, project, env, state, createdAt, eraseAfter, erasedAt }) => [
      `${organization}/${project}/${env}`,
      state,
      createdAt,
      erasedAt ?? (eraseAfter === undefined ? '' : `after ${eraseAfter}`),
    ]),
  );
}

function printCredentials(
  terminal: Terminal,
  { organization, project, url, environments }: TenantCredentials,
) {
  const path = (env: string): string => `${organization}/${project}/${env}`;
  const made = environments.filter(({ apiKey }) => apiKey !== undefined);
  const kept = environments.filter(({ apiKey }) => apiKey === undefined);
  if (made.length > 0) {
    printTable(
      terminal,
      ['ENVIRONMENT', 'URL', 'API KEY', 'SIGNING KEY'],
      made.map(({ env, apiKey = '', signingKey = '' }) => [path(env), url, apiKey, signingKey]),
    );
    terminal.print('\nThe keys are not shown again.');
  }
  for (const { env, state } of kept) {
    terminal.print(plain(`${path(env)} was there already (${state}): --new-keys makes another key`));
  }
}

function envFileOf({ url, environments }: TenantCredentials): string {
  const [{ apiKey, signingKey } = {}] = environments;
  if (apiKey === undefined)
    throw new Error('the environment was there already: --new-keys makes another key');
  return `IRONFLOW_URL=${url}\nIRONFLOW_API_KEY=${apiKey}\nIRONFLOW_SIGNING_KEY=${signingKey ?? ''}\n`;
}

function parseProjectPath(text: string): ProjectPath {
  const parts = text.split('/').map(parseSlug);
  if (parts.length > 2) throw new InvalidArgumentError('It must be organization/project or project.');
  const [project, organization] = parts.reverse();
  return { ...(organization === undefined ? {} : { organization }), project: project! };
}

export function parseTenantPath(text: string): TenantPath & { text: string } {
  const parts = text.split('/').map(parseSlug);
  if (parts.length !== 2 && parts.length !== 3) {
    throw new InvalidArgumentError('It must be organization/project/environment or project/environment.');
  }
  return { project: parts.at(-2)!, env: parts.at(-1)!, text };
}

function parseNames(text: string): string[] {
  return text.split(',').map((name) => parseSlug(name.trim()));
}

function parseSlug(text: string): string {
  const parsed = slugSchema.safeParse(text);
  if (parsed.success) return text;
  throw new InvalidArgumentError(`"${text}" ${parsed.error.issues[0]!.message}.`);
}

function parseDays(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) <= 365) return Number(text);
  throw new InvalidArgumentError('It must be a number of days from 0 to 365.');
}
