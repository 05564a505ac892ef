/** The platform as a program: `npm start`, `ironflow up`, `ironflow dev`. Runs until it is interrupted, and cleans up. */
import { createWriteStream } from 'node:fs';
import type { WriteStream } from 'node:fs';
import { join, resolve } from 'node:path';
import { IronflowError, messageOf } from '@ironflow/errors';
import { createLifecycle, createLogger, platformVersion } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { openDataFolder } from './data-folder.js';
import { endOnSignal } from './end-on-signal.js';
import { startPlatform } from './platform.js';
import type { Platform } from './platform.js';

export interface RunPlatformOptions {
  dataFolder: string;
  port: number;
  say: (line: string) => void;
  /** Started once the platform runs; what it answers with is called before the platform stops. */
  beside?: (platform: Platform, lifecycle: Lifecycle) => (() => Promise<void>) | Promise<void> | void;
  /** Default: a line on standard error. */
  sayError?: (error: unknown) => void;
}

/** A part that does not stop within this is left to the end of the process. */
const stopWithinMs = 30_000;

/** Resolves when everything runs. The process ends by a signal, or with exit code 1 when something cannot be started. */
export async function runPlatform(options: RunPlatformOptions): Promise<void> {
  const { say, sayError = (error) => process.stderr.write(`${messageOf(error)}\n`) } = options;
  const dataFolder = resolve(options.dataFolder);
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'platform', level: 'silent' }) });
  endOnSignal(() => {
    say('Stopping…');
    void stopAndExit(lifecycle, 0);
  });
  try {
    requirePort(options.port);
    await openDataFolder(dataFolder);
    const logFile = join(dataFolder, 'services.log');
    const destination = openLog(logFile, say);
    const platform = await startPlatform({
      dataFolder,
      env: process.env,
      lifecycle,
      loggerFor: (service) => createLogger({ service, version: platformVersion, destination }),
      say,
      port: options.port,
    });
    lifecycle.stopping.throwIfAborted();
    say(`Logs of every service: ${logFile}`);
    const besideEnd = await options.beside?.(platform, lifecycle);
    if (typeof besideEnd === 'function') lifecycle.onStop('beside', besideEnd);
    if (!lifecycle.stopping.aborted) sayHowToUse(platform, say);
  } catch (error) {
    // Whoever interrupted the start needs no word about it.
    if (lifecycle.stopping.aborted) return;
    sayError(error);
    await stopAndExit(lifecycle, 1);
  }
}

async function stopAndExit(lifecycle: Lifecycle, exitCode: number): Promise<void> {
  setTimeout(() => process.exit(1), stopWithinMs).unref();
  const stoppedCleanly = await lifecycle.stop().then(
    () => true,
    () => false,
  );
  process.exit(stoppedCleanly ? exitCode : 1);
}

function requirePort(port: number): void {
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return;
  const message = 'IRONFLOW_PORT: must be a port number from 0 to 65535';
  throw new IronflowError('invalid', 'config_invalid', message);
}

/** A disk that is full must not end the platform: the log is a help, not a part. */
function openLog(file: string, say: (line: string) => void): WriteStream {
  const stream = createWriteStream(file, { flags: 'a' });
  stream.once('error', (error) => say(`${file} cannot be written: ${error.message}`));
  stream.on('error', () => undefined);
  return stream;
}

function sayHowToUse(platform: Platform, say: (line: string) => void): void {
  say('');
  say('Use it from another terminal:');
  say(`  export IRONFLOW_URL=${platform.url}`);
  say(`  export IRONFLOW_API_KEY=${platform.apiKey}`);
  say(`  export IRONFLOW_SIGNING_KEY=${platform.signingKey}`);
  say('  npx ironflow runs list');
  say(
    `  npx ironflow tenants list      with the operator key in ${join(platform.dataFolder, 'credentials.json')}`,
  );
  say('Ctrl-C stops it.');
}
