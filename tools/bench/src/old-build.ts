/** An earlier commit of this repository, checked out and built in a folder of its own. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type * as database from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';

export interface Build {
  folder: string;
  /** Its own code of the database, in this process. */
  database: typeof database;
  sdkUrl: string;
}

export const ownWorkspace = fileURLToPath(new URL('../../../', import.meta.url));
const git = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)('git', ['-C', ownWorkspace, ...args])).stdout.trim();

const migrations = 'libs/database/prisma/migrations';

/**
 * A build from before `oldest_build()` starts on the schema of its own migrations only, whatever it could run on. It counts
 * them in its folder: with those of today beside them it takes today's schema for its own. Nothing of it is changed.
 */
export async function putMigrationsBeside({ folder }: Build): Promise<void> {
  await cp(join(ownWorkspace, migrations), join(folder, migrations), { recursive: true });
}

/** What an earlier upgrade put into a checkout that is used again. */
export async function removeForeignMigrations(folder: string): Promise<void> {
  await git('-C', folder, 'clean', '-fdq', migrations);
}

/** Of the given folder, which is there and built. */
export async function openBuild(folder: string): Promise<Build> {
  const moduleUrl = (path: string): string => pathToFileURL(join(folder, path)).href;
  return {
    folder,
    database: (await import(moduleUrl('libs/database/dist/index.js'))) as Build['database'],
    sdkUrl: moduleUrl('libs/sdk/dist/index.js'),
  };
}

/** The folder must not be there yet. It is a worktree of this clone until `removeCheckout`. */
export async function checkOut(ref: string, folder: string, say: (line: string) => void): Promise<void> {
  const commit = await git('rev-parse', '--verify', '--quiet', `${ref}^{commit}`).catch(() => undefined);
  if (commit === undefined) {
    const message = `${ref} is no commit of this clone: it needs the history (git fetch --unshallow)`;
    throw new IronflowError('invalid', 'commit_unknown', message);
  }
  await git('worktree', 'add', '--detach', folder, commit);
  if (await hasSameLock(folder)) {
    say('Copying the dependencies, which are the same…');
    await cp(join(ownWorkspace, 'node_modules'), join(folder, 'node_modules'), {
      recursive: true,
      verbatimSymlinks: true,
    });
  }
  say(`Building ${commit.slice(0, 12)}…`);
  // Each of them is quick where nothing is to be done.
  for (const program of ['install.mjs', 'build.mjs']) await run(join(folder, 'tools/setup', program), folder);
}

export async function removeCheckout(folder: string): Promise<void> {
  await git('worktree', 'remove', '--force', folder);
}

async function hasSameLock(folder: string): Promise<boolean> {
  const lockOf = (root: string): Promise<string> => readFile(join(root, 'package-lock.json'), 'utf8');
  return (await lockOf(folder)) === (await lockOf(ownWorkspace));
}

async function run(program: string, cwd: string): Promise<void> {
  const child = spawn(process.execPath, [program], { cwd, stdio: ['ignore', 2, 2] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${program} failed; its output is above`);
}
