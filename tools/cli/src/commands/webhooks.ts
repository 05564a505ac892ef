/** `ironflow webhooks create|list|show|rotate|pause|resume|delete|deliveries`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { deliveryStatuses, webhookProviderIds } from '@ironflow/schema';
import type { CreatedWebhook, DeliveriesQuery, Delivery, NewWebhook, WebhookSource } from '@ironflow/sdk';
import { parsePageSize, parseTime } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function webhookCommands(terminal: Terminal): Command {
  return new Command('webhooks')
    .description('addresses to which GitHub, Stripe and others send what becomes events')
    .addCommand(createCommand(terminal))
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(rotateCommand(terminal))
    .addCommand(statusCommand(terminal, 'pause', 'refuse deliveries with 503 until it is resumed'))
    .addCommand(statusCommand(terminal, 'resume', 'take deliveries again'))
    .addCommand(deleteCommand(terminal))
    .addCommand(deliveriesCommand(terminal));
}

const sourceId = '<source>';
const whereFrom = 'its id, as `webhooks list` prints it';
const secretOption = 'the provider’s, if it has made one; "-" reads it from standard input';

interface CreateFlags {
  provider: NewWebhook['provider'];
  scheme?: NewWebhook['scheme'];
  eventPrefix?: string;
  keepHeader: string[];
  secret?: string;
}

const createExamples = `
Examples:
  ironflow webhooks create github --provider github
  ironflow webhooks create stripe --provider stripe     then: webhooks rotate stripe --secret -
  ironflow webhooks create shop --provider custom --secret - --keep-header x-shopify-shop-domain --scheme '{
    "signature": {"header": "X-Shopify-Hmac-Sha256", "encoding": "base64"},
    "deliveryId": {"header": "X-Shopify-Webhook-Id"}, "eventType": [{"header": "X-Shopify-Topic"}]}'`;

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('make an address for a provider; prints it, and the secret if one was made, once')
    .argument(sourceId, 'an id of your choice')
    .addOption(
      new Option('--provider <provider>', 'who sends').choices(webhookProviderIds).makeOptionMandatory(),
    )
    .option('--secret <secret>', `${secretOption}; without, one is made (by Stripe: see the example)`)
    .option('--event-prefix <prefix>', 'what names of events begin with; default: the provider or the id')
    .option('--keep-header <name>', 'kept beside the body; may be repeated', collect, [])
    .option('--scheme <json>', 'how a custom provider signs: see docs/webhooks.md', parseScheme)
    .addHelpText('after', createExamples)
    .action(async (id: string, flags: CreateFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { keepHeader: headers, secret, ...source } = flags;
      const given = await readSecret(terminal, secret);
      const created = await client.webhooks.create({ id, ...source, ...given, headers });
      printWithSecret(terminal, created, json);
    });
}

function listCommand(terminal: Terminal): Command {
  return new Command('list').description('every source').action(async (_flags: unknown, command: Command) => {
    const { client, json } = openSession(command, terminal);
    const webhooks = await client.webhooks.list();
    if (json) return printJson(terminal, { webhooks });
    if (webhooks.length === 0) return terminal.print('no sources of webhooks');
    printTable(
      terminal,
      ['SOURCE', 'PROVIDER', 'STATUS', 'EVENTS', 'REFUSED', 'URL'],
      webhooks.map((source) => [
        source.id,
        source.provider,
        source.status,
        `${source.eventPrefix}.>`,
        String(source.refused),
        source.url,
      ]),
    );
  });
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('one source, with its address')
    .argument(sourceId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const source = await client.webhooks.get(id);
      if (json) printJson(terminal, source);
      else printSource(terminal, source);
    });
}

function rotateCommand(terminal: Terminal): Command {
  return new Command('rotate')
    .description('replace the secret; the one before is good for a while yet')
    .argument(sourceId, whereFrom)
    .option('--secret <secret>', `${secretOption}; without, one is made and printed, once`)
    .option(
      '--grace <duration>',
      'how long those before are good as well, such as 1h, at most 7d',
      parseGrace,
    )
    .action(async (id: string, flags: { secret?: string; grace?: `${number}s` }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { secret, ...grace } = flags;
      const rotated = await client.webhooks.rotate(id, { ...(await readSecret(terminal, secret)), ...grace });
      printWithSecret(terminal, rotated, json);
    });
}

function statusCommand(terminal: Terminal, name: 'pause' | 'resume', description: string): Command {
  return new Command(name)
    .description(description)
    .argument(sourceId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const source = await client.webhooks[name](id);
      if (json) printJson(terminal, source);
      else terminal.print(source.status);
    });
}

function deleteCommand(terminal: Terminal): Command {
  return new Command('delete')
    .description('remove a source with its address, secrets and log; its events stay')
    .argument(sourceId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const deleted = await client.webhooks.delete(id);
      if (json) printJson(terminal, deleted);
      else terminal.print('deleted');
    });
}

type DeliveriesFlags = Partial<DeliveriesQuery> & { refused?: boolean };

function deliveriesCommand(terminal: Terminal): Command {
  return new Command('deliveries')
    .description('what was sent to a source, newest first; kept for 30 days, and the last 10,000')
    .argument(sourceId, whereFrom)
    .option('--refused', 'only those that were refused')
    .addOption(new Option('--status <status>', 'only those').choices(deliveryStatuses).conflicts('refused'))
    .option('--from <time>', 'received at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'received before', parseTime)
    .option('--limit <n>', 'deliveries a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (id: string, flags: DeliveriesFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { refused, ...query } = flags;
      const page = await client.webhooks.deliveries(
        id,
        refused === true ? { ...query, status: 'refused' } : query,
      );
      if (json) return printJson(terminal, page);
      if (page.deliveries.length === 0) return terminal.print('no deliveries');
      printTable(
        terminal,
        ['RECEIVED', 'STATUS', 'DELIVERY', 'EVENT', 'NAME OR REASON'],
        page.deliveries.map(rowOf),
      );
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

function rowOf(delivery: Delivery): string[] {
  const { receivedAt, status, deliveryId = '', eventId = '', eventName = '', reason = eventName } = delivery;
  return [receivedAt, status, deliveryId, eventId, reason];
}

function printWithSecret(terminal: Terminal, source: CreatedWebhook, json: boolean): void {
  if (json) return printJson(terminal, source);
  printSource(terminal, source);
  if (source.secret !== undefined) terminal.print(`secret    ${source.secret}   (not shown again)`);
  else if (source.secrets.length === 0) {
    terminal.print(
      `\nGive the URL to the provider, then the secret that it makes: ironflow webhooks rotate ${source.id} --secret -`,
    );
  }
}

function printSource(terminal: Terminal, source: WebhookSource): void {
  const { scheme, refused, refusedUnlogged } = source;
  const fields: [string, string][] = [
    ['source', `${source.id} (${source.provider})`],
    ['url', source.url],
    ['status', source.status],
    ['events', `${source.eventPrefix}.>`],
    ['signed', `${scheme.signature.header}: HMAC-${scheme.signature.algorithm} of ${scheme.signed}`],
    ['secrets', describeSecrets(source)],
    [
      'refused',
      refusedUnlogged === 0 ? String(refused) : `${refused}, ${refusedUnlogged} of them not in the log`,
    ],
    ['created', source.createdAt],
  ];
  for (const [name, value] of fields) terminal.print(`${name.padEnd(9)} ${plain(value)}`);
}

function describeSecrets({ secrets }: WebhookSource): string {
  if (secrets.length === 0) return 'none yet: every delivery is refused';
  return secrets
    .map(
      ({ createdAt, expiresAt }) => `of ${createdAt}${expiresAt === undefined ? '' : `, until ${expiresAt}`}`,
    )
    .join('; ');
}

async function readSecret(terminal: Terminal, given: string | undefined): Promise<{ secret?: string }> {
  if (given === undefined) return {};
  return { secret: given === '-' ? (await terminal.readInput()).trim() : given };
}

function collect(name: string, names: string[]): string[] {
  return [...names, name];
}

function parseScheme(text: string): NewWebhook['scheme'] {
  try {
    return JSON.parse(text) as NewWebhook['scheme'];
  } catch {
    throw new InvalidArgumentError('It must be JSON.');
  }
}

function parseGrace(text: string): `${number}${'s' | 'm' | 'h' | 'd'}` {
  if (/^\d+(s|m|h|d)$/.test(text)) return text as `${number}s`;
  throw new InvalidArgumentError('It must be a duration such as "0s", "90m", "1h" or "7d".');
}
