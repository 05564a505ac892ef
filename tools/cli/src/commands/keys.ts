/** `ironflow keys list|create|rotate|revoke` and `ironflow signing-keys list|rotate`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { keyRoles, keyScopes } from '@ironflow/schema';
import type { ApiKey, CreatedKey, NewKey, OverlapOptions, RotateKeyOptions } from '@ironflow/sdk';
import { parseLongDuration, parseTime } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

const keyId = '<key id>';
const whereFrom = 'as `keys list` prints it';
const overlapOption =
  'how long the one before is good as well, such as 1h, at most 30d; default 24h, 0s: not at all';
const expiresOption = 'a time such as 2030-01-31T12:00:00Z';

export function keyCommands(terminal: Terminal): Command {
  return new Command('keys')
    .description('API keys of the environment')
    .addCommand(listCommand(terminal))
    .addCommand(createCommand(terminal))
    .addCommand(rotateCommand(terminal))
    .addCommand(revokeCommand(terminal));
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('every key that is live, or ended within 30 days')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const keys = await client.keys.list();
      if (json) return printJson(terminal, { keys });
      printTable(
        terminal,
        ['KEY', 'NAME', 'ROLE', 'SCOPES', 'STATUS', 'CREATED', 'LAST USED'],
        keys.map((key) => [
          key.id,
          key.name,
          key.role,
          key.scopes.length === 0 ? 'all of its role' : key.scopes.join(' '),
          statusOf(key),
          key.createdAt,
          key.lastUsedAt ?? 'never',
        ]),
      );
    });
}

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('make a key; prints it, once')
    .argument('<name>', 'what it is for')
    .addOption(new Option('--role <role>', 'what it may do').choices(keyRoles).makeOptionMandatory())
    .option('--scopes <scopes>', 'narrows it further, such as runs:read,events:write', parseScopes)
    .option('--expires <time>', expiresOption, parseTime)
    .action(
      async (
        name: string,
        { role, scopes, expires }: Pick<NewKey, 'role' | 'scopes'> & { expires?: string },
        command: Command,
      ) => {
        const { client, json } = openSession(command, terminal);
        const expiresAt = expires === undefined ? {} : { expiresAt: expires };
        const narrowed = scopes === undefined ? {} : { scopes };
        printCreated(terminal, await client.keys.create({ name, role, ...narrowed, ...expiresAt }), json);
      },
    );
}

function rotateCommand(terminal: Terminal): Command {
  return new Command('rotate')
    .description('make a key in the place of another, which is good for a while yet; prints it, once')
    .argument(keyId, whereFrom)
    .option('--overlap <duration>', overlapOption, parseLongDuration)
    .option('--expires <time>', `of the new key: ${expiresOption}; default: as the one before`, parseTime)
    .action(
      async (id: string, { overlap, expires }: OverlapOptions & { expires?: string }, command: Command) => {
        const { client, json } = openSession(command, terminal);
        const options: RotateKeyOptions = {
          ...(overlap === undefined ? {} : { overlap }),
          ...(expires === undefined ? {} : { expiresAt: expires }),
        };
        printCreated(terminal, await client.keys.rotate(id, options), json);
      },
    );
}

function revokeCommand(terminal: Terminal): Command {
  return new Command('revoke')
    .description('end a key at once')
    .argument(keyId, whereFrom)
    .action(async (id: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const key = await client.keys.revoke(id);
      if (json) printJson(terminal, key);
      else terminal.print('revoked');
    });
}

export function signingKeyCommands(terminal: Terminal): Command {
  return new Command('signing-keys')
    .description('what calls of push endpoints are signed with')
    .addCommand(
      new Command('list')
        .description('those that calls are signed with now, newest first')
        .action(async (_flags: unknown, command: Command) => {
          const { client, json } = openSession(command, terminal);
          const signingKeys = await client.signingKeys.list();
          if (json) return printJson(terminal, { signingKeys });
          printTable(
            terminal,
            ['VERSION', 'CREATED', 'UNTIL'],
            signingKeys.map(({ version, createdAt, expiresAt }) => [
              String(version),
              createdAt,
              expiresAt ?? '',
            ]),
          );
        }),
    )
    .addCommand(
      new Command('rotate')
        .description(
          'make a new one; prints it, once. Calls are signed with those before as well for a while',
        )
        .option('--overlap <duration>', overlapOption, parseLongDuration)
        .action(async (options: OverlapOptions, command: Command) => {
          const { client, json } = openSession(command, terminal);
          const rotated = await client.signingKeys.rotate(options);
          if (json) return printJson(terminal, rotated);
          terminal.print(`version      ${rotated.version}`);
          terminal.print(`signing key  ${rotated.signingKey}   (not shown again)`);
        }),
    );
}

function printCreated(terminal: Terminal, key: CreatedKey, json: boolean): void {
  if (json) return printJson(terminal, key);
  const fields: [string, string][] = [
    ['key id', key.id],
    ['name', key.name],
    ['role', key.role],
    ['scopes', key.scopes.length === 0 ? 'all of its role' : key.scopes.join(' ')],
    ...(key.expiresAt === undefined ? [] : [['expires', key.expiresAt] as [string, string]]),
  ];
  for (const [name, value] of fields) terminal.print(`${name.padEnd(8)} ${plain(value)}`);
  terminal.print(`${'key'.padEnd(8)} ${key.key}   (not shown again)`);
}

function statusOf({ status, expiresAt, replaced }: ApiKey): string {
  if (status !== 'live' || expiresAt === undefined) return status;
  return `${replaced ? 'replaced, until' : 'until'} ${expiresAt}`;
}

function parseScopes(text: string): NewKey['scopes'] {
  const scopes = text.split(',').map((scope) => scope.trim());
  const unknown = scopes.find((scope) => !(keyScopes as readonly string[]).includes(scope));
  if (unknown === undefined) return scopes as NewKey['scopes'];
  throw new InvalidArgumentError(`"${unknown}" is no scope; they are ${keyScopes.join(', ')}.`);
}
