/**
 * `ironflow dev|up|migrate`: the platform itself, on this machine. It is a package of its own, so that a project which
 * only emits events or serves functions does not install NATS and PostgreSQL.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { watch } from 'node:fs';
import { Command } from 'commander';
import { print, printJson } from '../output.js';
import { syncApp } from './apps.js';

interface UpFlags {
  port: string;
  data: string;
}

interface DevFlags extends UpFlags {
  run?: string;
  watch: string;
  app?: string;
}

export function platformCommands(): Command[] {
  const withPlace = (command: Command): Command =>
    command
      .option(
        '--port <port>',
        'of the platform; default: IRONFLOW_PORT, then 7400',
        process.env['IRONFLOW_PORT'] ?? '7400',
      )
      .option('--data <folder>', 'where everything is kept', process.env['IRONFLOW_DATA'] ?? '.ironflow');
  const up = withPlace(new Command('up').description('start the platform here, until Ctrl-C')).action(
    async (flags: UpFlags) => {
      const { runPlatform } = await loadPlatform();
      await runPlatform({ dataFolder: flags.data, port: Number(flags.port), say: print });
    },
  );
  const dev = withPlace(
    new Command('dev')
      .description('start the platform beside your app: the app restarts and registers again on every save')
      .option(
        '--run <command>',
        'starts your app; it gets IRONFLOW_URL, IRONFLOW_API_KEY and IRONFLOW_SIGNING_KEY',
      )
      .option('--app <url>', 'a push app that runs already: it is asked to register again on every save')
      .option('--watch <folder>', 'whose changes count as a save', '.'),
  ).action(async (flags: DevFlags) => {
    const { runPlatform } = await loadPlatform();
    await runPlatform({
      dataFolder: flags.data,
      port: Number(flags.port),
      say: print,
      beside: (platform) => besideApp(flags, platform),
    });
  });
  const migrate = new Command('migrate')
    .description('bring the database that DATABASE_URL names to the schema of this version')
    .action(async (_flags: unknown, command: Command) => {
      const { runMigrations } = await loadPlatform();
      const json = command.optsWithGlobals<{ json: boolean }>().json;
      const { applied } = await runMigrations({ env: process.env, say: json ? () => undefined : print });
      if (json) printJson({ applied });
      else print(applied.length === 0 ? 'nothing to do' : `applied: ${applied.join(', ')}`);
    });
  return [dev, up, migrate];
}

async function loadPlatform(): Promise<typeof import('@ironflow/platform')> {
  return import('@ironflow/platform').catch((error: unknown) => {
    throw new Error(
      'this command needs the package @ironflow/platform, which is not installed here: run it in a clone of Ironflow',
      { cause: error },
    );
  });
}

interface AppSurroundings {
  url: string;
  apiKey: string;
  signingKey: string;
}

/** Runs the user's app beside the platform, again on every save; answers how to end it. */
function besideApp(flags: DevFlags, platform: AppSurroundings): () => Promise<void> {
  const env = {
    ...process.env,
    IRONFLOW_URL: platform.url,
    IRONFLOW_API_KEY: platform.apiKey,
    IRONFLOW_SIGNING_KEY: platform.signingKey,
  };
  let child: ChildProcess | undefined;
  const startApp = (): void => {
    if (flags.run === undefined) return;
    child = spawn(flags.run, { shell: true, env, stdio: 'inherit', detached: true });
    child.once('error', (error) => print(`your app cannot be started: ${error.message}`));
  };
  const register = async (): Promise<void> => {
    if (flags.app === undefined) return;
    await syncApp(flags.app).then(
      (answer) =>
        print(`registered: ${[...answer.registered, ...answer.unchanged].join(', ') || 'no functions'}`),
      (error: Error) => print(error.message),
    );
  };
  let settling: NodeJS.Timeout | undefined;
  const watcher = watch(flags.watch, { recursive: true }, (_event, file) => {
    if (file === null || /(^|[/\\])(\.|node_modules|dist)/.test(file)) return;
    clearTimeout(settling);
    settling = setTimeout(() => {
      print(`${file} changed`);
      void endApp(child).then(() => {
        startApp();
        void register();
      });
    }, 200);
  });
  startApp();
  void register();
  return async () => {
    watcher.close();
    clearTimeout(settling);
    await endApp(child);
  };
}

async function endApp(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const { pid } = child;
  // The shell and what it started are one group.
  process.kill(-pid, 'SIGTERM');
  const timer = setTimeout(() => process.kill(-pid, 'SIGKILL'), 5_000);
  await ended;
  clearTimeout(timer);
}
