/** `ironflow kv buckets|create|describe|delete-bucket|get|put|delete|keys|history|watch`. */
import { Command, InvalidArgumentError } from 'commander';
import type { KvBucket, KvChange } from '@ironflow/sdk';
import { parseLongDuration, readData } from '../input.js';
import type { LongDuration } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function kvCommands(terminal: Terminal): Command {
  return new Command('kv')
    .description('key-value buckets; their values are in NATS alone, and lost with it')
    .addCommand(bucketsCommand(terminal))
    .addCommand(createCommand(terminal))
    .addCommand(describeCommand(terminal))
    .addCommand(deleteBucketCommand(terminal))
    .addCommand(getCommand(terminal))
    .addCommand(putCommand(terminal))
    .addCommand(deleteCommand(terminal))
    .addCommand(keysCommand(terminal))
    .addCommand(historyCommand(terminal))
    .addCommand(watchCommand(terminal));
}

function bucketsCommand(terminal: Terminal): Command {
  return new Command('buckets')
    .description('every bucket')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const buckets = await client.kvBuckets();
      if (json) return printJson(terminal, { buckets });
      if (buckets.length === 0) return terminal.print('no buckets');
      printBuckets(terminal, buckets);
    });
}

interface CreateFlags {
  ttl?: LongDuration;
  history?: number;
  maxBytes?: number;
}

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('make a bucket, or change what it is set to; what is left out has its default again')
    .argument('<bucket>')
    .option('--ttl <duration>', 'values vanish so long after they were set, such as 1h', parseLongDuration)
    .option('--history <n>', 'how many values of a key are kept, at most 64; default: 1', parseNumber)
    .option('--max-bytes <n>', 'of all values together; default: 64 MiB', parseNumber)
    .action(async (bucket: string, flags: CreateFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const created = await client.kv(bucket).create(flags);
      if (json) printJson(terminal, created);
      else printBuckets(terminal, [created]);
    });
}

function describeCommand(terminal: Terminal): Command {
  return new Command('describe')
    .description('what a bucket is set to')
    .argument('<bucket>')
    .action(async (bucket: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const found = await client.kv(bucket).describe();
      if (json) printJson(terminal, found);
      else printBuckets(terminal, [found]);
    });
}

function deleteBucketCommand(terminal: Terminal): Command {
  return new Command('delete-bucket')
    .description('remove a bucket with all its values')
    .argument('<bucket>')
    .action(async (bucket: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const deleted = await client.kv(bucket).deleteBucket();
      if (json) printJson(terminal, deleted);
      else terminal.print('deleted');
    });
}

function getCommand(terminal: Terminal): Command {
  return new Command('get')
    .description('the value of a key; with --json its revision too')
    .argument('<bucket>')
    .argument('<key>')
    .action(async (bucket: string, key: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const entry = await client.kv(bucket).get(key);
      if (entry === undefined) throw new Error('there is no such key in the bucket');
      printJson(terminal, json ? entry : entry.value);
    });
}

interface PutFlags {
  revision?: number;
  ttl?: LongDuration;
}

function putCommand(terminal: Terminal): Command {
  return new Command('put')
    .description('set a key')
    .argument('<bucket>')
    .argument('<key>')
    .argument('[value]', 'JSON; "-" reads it from standard input', '-')
    .option('--revision <n>', 'only if it is at this one now; 0: only if there is none', parseNumber)
    .option('--ttl <duration>', 'it vanishes after so long', parseLongDuration)
    .action(async (bucket: string, key: string, value: string, flags: PutFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const stored = await client.kv(bucket).put(key, await readData(terminal, value), flags);
      if (json) printJson(terminal, stored);
      else terminal.print(`revision ${stored.revision}`);
    });
}

function deleteCommand(terminal: Terminal): Command {
  return new Command('delete')
    .description('remove a key')
    .argument('<bucket>')
    .argument('<key>')
    .option('--revision <n>', 'only if it is at this one now', parseNumber)
    .action(async (bucket: string, key: string, flags: { revision?: number }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const deleted = await client.kv(bucket).delete(key, flags);
      if (json) printJson(terminal, deleted);
      else terminal.print('deleted');
    });
}

interface KeysFlags {
  limit: number;
  cursor?: string;
}

function keysCommand(terminal: Terminal): Command {
  return new Command('keys')
    .description('the keys of a bucket, in their order')
    .argument('<bucket>')
    .argument('[pattern]', 'such as orders.*', '>')
    .option('--limit <n>', 'keys a page, at most 1,000', parseNumber, 100)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async (bucket: string, pattern: string, flags: KeysFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const page = await client.kv(bucket).keys({ pattern, ...flags });
      if (json) return printJson(terminal, page);
      for (const key of page.keys) terminal.print(key);
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

function historyCommand(terminal: Terminal): Command {
  return new Command('history')
    .description('what is kept of a key, the oldest first')
    .argument('<bucket>')
    .argument('<key>')
    .action(async (bucket: string, key: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const changes = await client.kv(bucket).history(key);
      if (json) return printJson(terminal, { changes });
      for (const change of changes) terminal.print(lineOf(change));
    });
}

function watchCommand(terminal: Terminal): Command {
  return new Command('watch')
    .description(
      'what is kept, then changes as they come, until it is interrupted; with --json an object a line',
    )
    .argument('<bucket>')
    .argument('[pattern]', 'such as orders.*', '>')
    .option('--after <n>', 'begin behind this revision', parseNumber)
    .action(async (bucket: string, pattern: string, flags: { after?: number }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      for await (const change of client.kv(bucket).watch({ pattern, ...flags })) {
        terminal.print(json ? JSON.stringify(change) : lineOf(change));
      }
    });
}

function lineOf({ revision, key, value, deleted }: KvChange): string {
  return `${revision} ${key} ${deleted === true ? 'deleted' : plain(JSON.stringify(value))}`;
}

function printBuckets(terminal: Terminal, buckets: KvBucket[]): void {
  printTable(
    terminal,
    ['BUCKET', 'TTL', 'HISTORY', 'MAX BYTES'],
    buckets.map(({ name, ttlSeconds, history, maxBytes }) => [
      name,
      ttlSeconds === undefined ? 'none' : `${ttlSeconds}s`,
      String(history),
      String(maxBytes),
    ]),
  );
}

function parseNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number.');
}
