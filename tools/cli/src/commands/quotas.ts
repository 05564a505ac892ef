/** `ironflow quotas show|set`. */
import { Command, InvalidArgumentError } from 'commander';
import { quotaNames } from '@ironflow/schema';
import type { QuotaName } from '@ironflow/schema';
import type { QuotasResource, SetQuotasBody, TenantPath } from '@ironflow/sdk';
import { printJson, printTable } from '../output.js';
import { openOperatorSession, openSession } from '../session.js';
import { parseTenantPath } from './tenants.js';
import type { Terminal } from '../terminal.js';

export function quotasCommands(terminal: Terminal): Command {
  return new Command('quotas')
    .description('what the environment may use, and what it uses')
    .addCommand(showCommand(terminal))
    .addCommand(setCommand(terminal));
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('each quota with what is used of it')
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, terminal);
      printQuotas(terminal, session, await session.client.quotas.get());
    });
}

const flags: Record<QuotaName, string> = {
  eventsPerSecond: '--events-per-second <n>',
  requestsPerSecond: '--requests-per-second <n>',
  payloadBytes: '--payload-bytes <n>',
  queuedRuns: '--queued-runs <n>',
  storageBytes: '--storage-bytes <n>',
  concurrency: '--concurrency <n>',
};
const meanings: Record<QuotaName, string> = {
  eventsPerSecond: 'events that are taken; ten seconds of them at once',
  requestsPerSecond: 'requests with a key; ten seconds of them at once',
  payloadBytes: 'data of one event',
  queuedRuns: 'runs that have not begun',
  storageBytes: 'stored payloads, about',
  concurrency: 'activations at once, of all functions',
};

function setCommand(terminal: Terminal): Command {
  const command = new Command('set')
    .description(
      'change those that are given, each a number or `default`; for operators: IRONFLOW_OPERATOR_KEY',
    )
    .argument('<path>', 'organization/project/environment, or without the organization', parseTenantPath);
  for (const name of quotaNames) command.option(flags[name], meanings[name], parseQuota);
  return command.action(
    async (path: TenantPath, given: Partial<Record<QuotaName, GivenQuota>>, of: Command) => {
      const quotas: SetQuotasBody = Object.fromEntries(
        Object.entries(given).map(([name, quota]) => [name, quota === 'default' ? null : quota]),
      );
      if (Object.keys(quotas).length === 0) throw new Error('give at least one quota (--help tells which)');
      const session = openOperatorSession(of, terminal);
      printQuotas(terminal, session, await session.client.tenants.setQuotas(path, quotas));
    },
  );
}

type GivenQuota = number | 'default';

function parseQuota(text: string): GivenQuota {
  if (text === 'default') return text;
  const limit = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (limit > 0) return limit;
  throw new InvalidArgumentError('It must be a number from 1, or "default".');
}

function printQuotas(terminal: Terminal, { json }: { json: boolean }, quotas: QuotasResource): void {
  if (json) return printJson(terminal, quotas);
  printTable(
    terminal,
    ['QUOTA', 'LIMIT', 'USED', ''],
    quotaNames.map((name) => {
      const { limit, isDefault, used } = quotas[name];
      return [name, String(limit), used === undefined ? '' : String(used), isDefault ? 'default' : ''];
    }),
  );
}
