/**
 * `ironflow dev|up|migrate`: the platform itself, on this machine. It is a package of its own, so that a project which
 * only emits events or serves functions does not install NATS and PostgreSQL.
 */
import { statSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Platform, RunPlatformOptions } from '@ironflow/platform';
import { besideApp } from '../dev/beside-app.js';
import { parsePort } from '../input.js';
import { runMigrations } from '../installation/run-migrations.js';
import { loadPlatform } from '../installed-parts.js';
import { printFailure, printJson } from '../output.js';
import { wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';
import { requireAppUrl } from './apps.js';

interface UpFlags {
  port: number;
  data: string;
}

interface DevFlags extends UpFlags {
  run?: string;
  watch: string;
  app?: string;
}

export function platformCommands(terminal: Terminal): Command[] {
  return [devCommand(terminal), upCommand(terminal), migrateCommand(terminal)];
}

const defaultPort = 7400;
const defaultData = '.ironflow';

/** An empty variable counts as absent, as everywhere: as a folder it would be the present one. */
function withPlace(command: Command): Command {
  return command
    .addOption(
      new Option('--port <port>', 'where the platform listens; 0: any free port')
        .env('IRONFLOW_PORT')
        .default(defaultPort)
        .argParser((text) => (text === '' ? defaultPort : parsePort(text))),
    )
    .addOption(
      new Option('--data <folder>', 'where everything is kept')
        .env('IRONFLOW_DATA')
        .default(defaultData)
        .argParser((text) => text || defaultData),
    );
}

function upCommand(terminal: Terminal): Command {
  return withPlace(
    new Command('up').description(
      'start the platform here, until Ctrl-C; DATABASE_URL and NATS_URL choose servers of yours',
    ),
  ).action(async (flags: UpFlags, command: Command) => {
    const { runPlatform } = await loadPlatform();
    await runPlatform(platformOptions({ terminal, flags, json: wantsJson(command) }));
  });
}

function devCommand(terminal: Terminal): Command {
  return withPlace(
    new Command('dev').description(
      'start the platform beside your app, which restarts and registers again on every save',
    ),
  )
    .option(
      '--run <command>',
      'starts your app; it gets IRONFLOW_URL, IRONFLOW_API_KEY and IRONFLOW_SIGNING_KEY',
    )
    .option('--app <url>', 'where a push app is served: it is asked to register, again on every save')
    .option(
      '--watch <folder>',
      'where a changed .js or .ts file counts as a save; for compiled apps, the output',
      '.',
    )
    .action(async (flags: DevFlags, command: Command) => {
      requireFolder(flags.watch);
      if (flags.app !== undefined) requireAppUrl(flags.app);
      const { runPlatform } = await loadPlatform();
      const json = wantsJson(command);
      const options = platformOptions({ terminal, flags, json });
      await runPlatform({
        ...options,
        beside: (platform) => {
          if (json) void options.beside?.(platform);
          return besideApp({
            ...flags,
            ignored: [flags.data],
            platform,
            env: terminal.env,
            output: json ? 'stderr' : 'stdout',
            say: json ? (line) => terminal.printError(line) : (line) => terminal.print(line),
          });
        },
      });
    });
}

function platformOptions(of: {
  terminal: Terminal;
  flags: UpFlags;
  json: boolean;
}): Omit<RunPlatformOptions, 'beside'> & { beside?: (platform: Platform) => void } {
  const { terminal, flags, json } = of;
  const place = { dataFolder: flags.data, port: flags.port };
  const sayError = (error: unknown): void => printFailure(terminal, error, json);
  if (!json) return { ...place, sayError, say: (line) => terminal.print(line) };
  const describe = ({ url, apiKey, signingKey, dataFolder }: Platform): void =>
    terminal.print(JSON.stringify({ url, apiKey, signingKey, dataFolder }));
  return { ...place, sayError, say: () => undefined, beside: describe };
}

function migrateCommand(terminal: Terminal): Command {
  return new Command('migrate')
    .description(
      'bring the database that DATABASE_URL names to the schema of this version; one migration at a time, others wait',
    )
    .action(async (_flags: unknown, command: Command) => {
      const json = wantsJson(command);
      const say = json ? () => undefined : (line: string) => terminal.print(line);
      const { applied } = await runMigrations({ env: terminal.env, say });
      if (json) printJson(terminal, { applied });
      else if (applied.length === 0) terminal.print('the schema is current: nothing to do');
    });
}

function requireFolder(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new Error(`--watch: ${path} is no folder`);
}
