/**
 * What every program here does around its work: it says what happens, ends in its turn when it is interrupted, and plays on a
 * stage that is cleared afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import { endOnSignal, interruptedExitCode, isolatedEnv, startPlatform } from '@ironflow/platform';
import type { Platform, PlatformOptions } from '@ironflow/platform';
import { createLifecycle, createLogger } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';

/** Where a program plays: a folder of its own, and what is to be stopped in the end. */
export interface Stage {
  /** The program's name. */
  readonly name: string;
  readonly folder: string;
  readonly lifecycle: Lifecycle;
  /** The folder stays, to be looked at. One that was interrupted leaves nothing. */
  isKept: boolean;
}

export interface Program {
  /** Sets a stage, gives `work` up as soon as the program is interrupted, and clears the stage. */
  onStage<T>(work: (stage: Stage) => Promise<T>): Promise<T>;
  /** Ends the process: with 0 if `main` has passed, with 1 if not, and as shells tell of it if it was interrupted. */
  run(main: () => Promise<boolean>): Promise<never>;
}

export const say = (line: string): void => console.error(line);

export function createProgram(name: string): Program {
  const interruption = endOnSignal(() => say('Stopping…'));
  return {
    onStage: async (work) => {
      const folder = await mkdtemp(join(tmpdir(), `ironflow-${name}-`));
      const lifecycle = createLifecycle({ logger: createLogger({ service: name, level: 'silent' }) });
      const stage: Stage = { name, folder, lifecycle, isKept: false };
      try {
        return await interruption.during(work(stage));
      } finally {
        await lifecycle.stop();
        if (stage.isKept && !interruption.signal.aborted) say(`kept: ${folder}`);
        else await rm(folder, { recursive: true, force: true, maxRetries: 5 });
      }
    },
    run: async (main) => {
      const passed = await main().catch((error: unknown) => {
        if (!interruption.signal.aborted) say(messageOf(error));
        return false;
      });
      process.exit(interruption.signal.aborted ? interruptedExitCode : passed ? 0 : 1);
    },
  };
}

/** Processes of which nothing is heard. */
export function startSilentPlatform(
  { folder, lifecycle }: Stage,
  { env = {}, processes }: { processes: NonNullable<PlatformOptions['processes']>; env?: NodeJS.ProcessEnv },
): Promise<Platform> {
  return startPlatform({
    dataFolder: folder,
    env: { ...isolatedEnv(process.env), ...env },
    lifecycle,
    loggerFor: (service) => createLogger({ service, level: 'silent' }),
    say: () => undefined,
    port: 0,
    processes,
  });
}

/** A few connections of our own, to look at what there is. */
export function openDatabase({ name, lifecycle }: Stage, url: string): Database {
  const database = createDatabase({ url, applicationName: name, maxConnections: 2 });
  lifecycle.onStop('database', () => database.close());
  return database;
}
