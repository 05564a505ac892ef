/** `ironflow environment show|pause|resume|export`. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import { exportedTables } from '@ironflow/schema';
import type { Client, EnvironmentResource } from '@ironflow/sdk';
import { printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function environmentCommand(terminal: Terminal): Command {
  return new Command('environment')
    .description('that of the key')
    .addCommand(
      new Command('show')
        .description('whose the key is, and whether it is paused')
        .action(doing(terminal, 'get')),
    )
    .addCommand(
      new Command('pause')
        .description(
          'begin no more runs of any function: they queue; those that have begun go on to their end',
        )
        .action(doing(terminal, 'pause')),
    )
    .addCommand(
      new Command('resume')
        .description('begin runs again, those that have queued first; functions paused by themselves stay so')
        .action(doing(terminal, 'resume')),
    )
    .addCommand(exportCommand(terminal));
}

function doing(terminal: Terminal, what: 'get' | 'pause' | 'resume') {
  return async (_flags: unknown, command: Command) => {
    const { client, json } = openSession(command, terminal);
    const environment = await client.environment[what]();
    if (json) printJson(terminal, environment);
    else terminal.print(describe(environment));
  };
}

function describe({ project, env, pausedAt }: EnvironmentResource): string {
  return `${project}/${env}: ${pausedAt === undefined ? 'not paused' : `paused since ${pausedAt}`}`;
}

interface WrittenFile {
  file: string;
  rows: number;
  bytes: number;
  sha256: string;
}

function exportCommand(terminal: Terminal): Command {
  return new Command('export')
    .description(
      'write all of its data into a new folder, a file of JSON lines for each table and bucket; nothing that is secret. Takes a key of role admin',
    )
    .argument('<folder>')
    .action(async (folder: string, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { project, env } = await client.environment.get();
      // Whoever may not export makes no folder.
      await client.exports.page('environment_quotas');
      await mkdir(folder);
      const startedAt = new Date().toISOString();
      const files: WrittenFile[] = [];
      for (const table of exportedTables) {
        files.push(await writeLines(folder, `${table}.jsonl`, client.exports.rows(table)));
      }
      const buckets = await client.kvBuckets();
      if (buckets.length > 0) await mkdir(join(folder, 'kv'));
      for (const { name } of buckets) {
        files.push(await writeLines(folder, join('kv', `${name}.jsonl`), entriesOf(client, name)));
      }
      const manifest = { project, env, startedAt, endedAt: new Date().toISOString(), files };
      // Last: a folder without one is not whole.
      await writeFile(join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`, {
        flag: 'wx',
      });
      if (json) return printJson(terminal, manifest);
      printTable(
        terminal,
        ['FILE', 'ROWS', 'BYTES'],
        files.filter(({ rows }) => rows > 0).map(({ file, rows, bytes }) => [file, `${rows}`, `${bytes}`]),
      );
    });
}

async function writeLines(folder: string, file: string, rows: AsyncIterable<string>): Promise<WrittenFile> {
  const hash = createHash('sha256');
  const written = { rows: 0, bytes: 0 };
  async function* lines(): AsyncGenerator<Buffer> {
    for await (const row of rows) {
      const line = Buffer.from(`${row}\n`);
      hash.update(line);
      written.rows += 1;
      written.bytes += line.length;
      yield line;
    }
  }
  await pipeline(lines, createWriteStream(join(folder, file), { flags: 'wx', mode: 0o600 }));
  return { file, ...written, sha256: hash.digest('hex') };
}

async function* entriesOf(client: Client, bucket: string): AsyncGenerator<string> {
  const kv = client.kv(bucket);
  let cursor: string | undefined;
  do {
    const page = await kv.keys({ limit: 1_000, ...(cursor === undefined ? {} : { cursor }) });
    for (const key of page.keys) {
      const entry = await kv.get(key);
      if (entry !== undefined) yield JSON.stringify(entry);
    }
    cursor = page.nextCursor;
  } while (cursor !== undefined);
}
