/** The platform as a program: `npm start`, `ironflow up`, `ironflow dev`. Runs until it is interrupted, and cleans up. */
import { createWriteStream } from 'node:fs';
import { join, resolve } from 'node:path';
import { migrate } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import { createLifecycle, createLogger, platformVersion } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { openDataFolder } from './data-folder.js';
import { startPlatform } from './platform.js';
import type { Platform } from './platform.js';

export interface RunPlatformOptions {
  dataFolder: string;
  port: number;
  say: (line: string) => void;
  /** Started once the platform runs; what it answers with is called before the platform stops. */
  beside?: (platform: Platform, lifecycle: Lifecycle) => (() => Promise<void>) | Promise<void> | void;
}

/** Resolves when everything runs. The process ends by a signal, or with exit code 1 when something cannot be started. */
export async function runPlatform(options: RunPlatformOptions): Promise<void> {
  const { say } = options;
  const dataFolder = resolve(options.dataFolder);
  const logger = createLogger({ service: 'platform', level: 'silent' });
  const lifecycle = createLifecycle({ logger });
  const end = async (exitCode: number): Promise<void> => {
    const stoppedCleanly = await lifecycle.stop().then(
      () => true,
      () => false,
    );
    process.exit(stoppedCleanly ? exitCode : 1);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      say('Stopping…');
      process.once(signal, () => process.exit(130));
      void end(0);
    });
  }
  try {
    await openDataFolder(dataFolder);
    const logFile = join(dataFolder, 'services.log');
    const destination = createWriteStream(logFile, { flags: 'a' });
    const platform = await startPlatform({
      dataFolder,
      env: process.env,
      lifecycle,
      loggerFor: (service) => createLogger({ service, version: platformVersion, destination }),
      say,
      port: options.port,
    });
    say(`Logs of every service: ${logFile}`);
    const besideEnd = await options.beside?.(platform, lifecycle);
    if (typeof besideEnd === 'function') lifecycle.onStop('beside', besideEnd);
    say('');
    say('Use it from another terminal:');
    say(`  export IRONFLOW_URL=${platform.url}`);
    say(`  export IRONFLOW_API_KEY=${platform.apiKey}`);
    say(`  export IRONFLOW_SIGNING_KEY=${platform.signingKey}`);
    say('  npx ironflow runs list');
    say('Ctrl-C stops it.');
  } catch (error) {
    if (lifecycle.stopping.aborted) return;
    process.stderr.write(`${messageOf(error)}\n`);
    await end(1);
  }
}

/** `ironflow migrate`: the only way to change a database's schema. */
export async function runMigrations(options: {
  env: NodeJS.ProcessEnv;
  say: (line: string) => void;
}): Promise<{ applied: string[] }> {
  const {
    DATABASE_URL: ownerUrl,
    IRONFLOW_SERVICE_PASSWORD: service,
    IRONFLOW_TENANT_PASSWORD: tenant,
  } = options.env;
  if (ownerUrl === undefined || !URL.canParse(ownerUrl)) {
    const message = 'DATABASE_URL: set it to the postgresql:// URL of an administrator of the database';
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  if ((service === undefined) !== (tenant === undefined)) {
    const message = 'IRONFLOW_SERVICE_PASSWORD and IRONFLOW_TENANT_PASSWORD: set both or neither';
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  return migrate({
    ownerUrl,
    log: options.say,
    ...(service === undefined || tenant === undefined ? {} : { servicePasswords: { service, tenant } }),
  });
}
