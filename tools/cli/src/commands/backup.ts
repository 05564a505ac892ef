/** `ironflow backup create|verify|restore`: what lives in NATS alone, for operators. Postgres is backed up by its own tools. */
import { Command, InvalidArgumentError } from 'commander';
import type { Progress, RestoredStream } from '@ironflow/installation';
import type { BackupManifest } from '@ironflow/schema';
import { printJson, printTable } from '../output.js';
import { wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';
import { loadInstallation } from '../installed-parts.js';

export function backupCommands(terminal: Terminal): Command {
  return new Command('backup')
    .description(
      'streams and buckets of the servers that NATS_URL names; docs/operations/backup.md tells of Postgres',
    )
    .addCommand(createCommand(terminal))
    .addCommand(verifyCommand(terminal))
    .addCommand(restoreCommand(terminal));
}

const onlyRule = 'buckets, streams, all, or names separated by commas';
const places = `
A place is a folder, or s3://<bucket>/<prefix> with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for storage that is not
Amazon's, AWS_ENDPOINT_URL_S3. The servers are found and logged in to by NATS_URL, NATS_CREDS_FILE and the others that services have.`;

function createCommand(terminal: Terminal): Command {
  return new Command('create')
    .description('save them while everything goes on, into a place of its own below the target')
    .argument('<target>', 'a folder or s3://<bucket>/<prefix>')
    .option('--only <what>', onlyRule, 'all')
    .addHelpText('after', places)
    .action(async (target: string, flags: { only: string }, command: Command) => {
      const { createBackup } = await loadInstallation();
      const { place, manifest } = await withProgress(terminal, command, (onProgress) =>
        createBackup({ env: terminal.env, target, only: flags.only, onProgress }),
      );
      if (wantsJson(command)) return printJson(terminal, { place, ...manifest });
      printStreams(terminal, manifest);
      terminal.print(`\n${place}`);
    });
}

function verifyCommand(terminal: Terminal): Command {
  return new Command('verify')
    .description('whether every file of a backup is there and has what the manifest says')
    .argument('<backup>', 'the place that `create` has printed')
    .option(
      '--restore-check',
      'restore every stream into a nats-server of its own (NATS_SERVER_BIN, or that of the PATH) and read it back',
      false,
    )
    .addHelpText('after', places)
    .action(async (place: string, flags: { restoreCheck: boolean }, command: Command) => {
      const { verifyBackup } = await loadInstallation();
      const manifest = await withProgress(terminal, command, (onProgress) =>
        verifyBackup({ env: terminal.env, place, ...flags, onProgress }),
      );
      if (wantsJson(command)) return printJson(terminal, { place, ...flags, ...manifest });
      printStreams(terminal, manifest);
      terminal.print(`\nwhole${flags.restoreCheck ? ', and restored message by message' : ''}`);
    });
}

interface RestoreFlags {
  only?: string;
  replace?: string[];
  replicas?: number;
}

const nextSteps = `
Now start the services. They make every other stream and bucket again; what has to run is found in Postgres by their sweeps.`;

function restoreCommand(terminal: Terminal): Command {
  return new Command('restore')
    .description(
      'restore what lives in NATS alone: tenants’ buckets, topics, events that Postgres has not yet. Before the services start',
    )
    .argument('<backup>', 'the place that `create` has printed')
    .option('--only <what>', `instead: ${onlyRule}`)
    .option(
      '--replace <names>',
      'streams that are removed for it if they are there, separated by commas',
      readNames,
    )
    .option(
      '--replicas <n>',
      'of every stream; by default as many as each had, and 1 without a cluster',
      readReplicas,
    )
    .addHelpText('after', places)
    .action(async (place: string, flags: RestoreFlags, command: Command) => {
      const { restoreBackup } = await loadInstallation();
      const { manifest, restored } = await withProgress(terminal, command, (onProgress) =>
        restoreBackup({ env: terminal.env, place, ...flags, onProgress }),
      );
      if (wantsJson(command)) return printJson(terminal, { place, id: manifest.id, restored });
      printTable(
        terminal,
        ['STREAM', 'MESSAGES', 'EXPIRED', 'REPLICAS'],
        restored.map(({ name, ...counts }) => [name, ...cellsOf(counts)]),
      );
      terminal.print(nextSteps);
    });
}

function cellsOf({ messages, expired, replicas }: Omit<RestoredStream, 'name'>): string[] {
  return [messages, expired, replicas].map(String);
}

function printStreams(terminal: Terminal, { streams }: BackupManifest): void {
  printTable(
    terminal,
    ['STREAM', 'MESSAGES', 'BYTES', 'FILE'],
    streams.map(({ configuration, messages, bytes, file }) => [
      configuration.name,
      `${messages}`,
      `${bytes}`,
      `${file.bytes}`,
    ]),
  );
}

async function withProgress<T>(
  terminal: Terminal,
  command: Command,
  work: (onProgress: (progress: Progress) => void) => Promise<T>,
): Promise<T> {
  const isJson = wantsJson(command);
  const show = (line: string): void => {
    if (!isJson) terminal.showProgress(line);
  };
  try {
    return await work((progress) => show(describe(progress)));
  } finally {
    show('');
  }
}

function describe({ work, stream, place, of, messages, messagesOf }: Progress): string {
  const share = messagesOf === 0 ? '' : `, ${Math.min(100, Math.floor((100 * messages) / messagesOf))} %`;
  return `${work} ${stream} (${place} of ${of}): ${messages} messages${share}`;
}

function readNames(text: string): string[] {
  return text.split(',').map((name) => name.trim());
}

function readReplicas(text: string): number {
  if (/^[1-5]$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a number from 1 to 5.');
}
