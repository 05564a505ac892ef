/**
 * The folder of one PostgreSQL server:
 *
 *     cluster/      what initdb makes; PostgreSQL's own
 *     password      of the superuser, random, readable by its owner only
 *     launch.json   who started the server last
 *
 * A folder is prepared once. The cluster is made beside its place and renamed, so a start that is killed half-way
 * leaves nothing that looks finished.
 */
import { IronflowError, messageOf } from '@ironflow/errors';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { launchPrefix } from './launch-prefix.js';
import { settlePredecessor } from './predecessor.js';
import type { PostgresProgram } from './postgres-program.js';
import { ensureServerFolder } from './server-folder.js';

export const superuser = 'postgres';

export interface PostgresFolder {
  cluster: string;
  launchNote: string;
  password: string;
}

const run = promisify(execFile);
/** A fast shutdown writes a checkpoint first. */
const orphanPatienceMs = 15_000;

export interface PreparePostgresOptions {
  dataDir: string;
  program: PostgresProgram;
  /** Whether the new files must survive a power cut. */
  durable: boolean;
  /** Such a folder, of a server that does not run: a new one begins as its copy, which takes a tenth of the time of an initdb. */
  template?: string | undefined;
}

export async function preparePostgresFolder(options: PreparePostgresOptions): Promise<PostgresFolder> {
  const dataDir = resolve(options.dataDir);
  await ensureServerFolder(dataDir);
  const cluster = join(dataDir, 'cluster');
  const launchNote = join(dataDir, 'launch.json');
  const passwordPath = join(dataDir, 'password');
  if (existsSync(cluster)) {
    checkMajorVersion(cluster, options.program);
    await freeCluster(cluster, launchNote);
    await ensureOwner(dataDir);
  } else if (options.template !== undefined) {
    await copyTemplate(options.template, { cluster, passwordPath });
    await ensureOwner(dataDir);
  } else {
    await writeFile(passwordPath, randomBytes(24).toString('hex'), { mode: 0o600 });
    await makeCluster({ ...options, cluster, passwordPath });
  }
  const password = await readFile(passwordPath, 'utf8').catch((error: unknown) => {
    const message = `${passwordPath}, the password of the database in ${dataDir}, cannot be read`;
    throw new IronflowError('unavailable', 'postgres_password_missing', message, { cause: error });
  });
  return { cluster, launchNote, password: password.trim() };
}

interface MakeClusterOptions extends PreparePostgresOptions {
  cluster: string;
  passwordPath: string;
}

async function makeCluster({
  dataDir,
  program,
  durable,
  cluster,
  passwordPath,
}: MakeClusterOptions): Promise<void> {
  const unfinished = `${cluster}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  const { command } = launchPrefix({ deathSignal: 'INT', leaveRoot: true });
  await ensureOwner(dataDir);
  const [file = '', ...args] = [
    ...command,
    program.initdb,
    ...['-D', unfinished, '-U', superuser, '-E', 'UTF8', '--locale=C', '--no-instructions'],
    ...['--auth=scram-sha-256', `--pwfile=${passwordPath}`],
    ...(durable ? [] : ['--no-sync']),
  ];
  try {
    await run(file, args, { cwd: dataDir });
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim() ?? messageOf(error);
    const message = `a database could not be made in ${dataDir}:\n${said}`;
    throw new IronflowError('unavailable', 'postgres_initdb_failed', message, { cause: error });
  }
  await rename(unfinished, cluster);
}

async function copyTemplate(
  template: string,
  { cluster, passwordPath }: { cluster: string; passwordPath: string },
): Promise<void> {
  const unfinished = `${cluster}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await copyFile(join(template, 'password'), passwordPath);
  await run('cp', ['-R', '-p', join(template, 'cluster'), unfinished]);
  await rename(unfinished, cluster);
}

/** Where the server runs as another user than we do, the files are given to that user. */
async function ensureOwner(dataDir: string): Promise<void> {
  const ownUserId = process.getuid?.();
  if (ownUserId !== 0) return;
  const { ownerId = ownUserId } = launchPrefix({ deathSignal: 'INT', leaveRoot: true });
  if ((await stat(dataDir)).uid === ownerId) return;
  await run('chown', ['-R', `${ownerId}:${ownerId}`, dataDir]);
}

function checkMajorVersion(cluster: string, { majorVersion }: PostgresProgram): void {
  let found: string;
  try {
    found = readFileSync(join(cluster, 'PG_VERSION'), 'utf8').trim();
  } catch (error) {
    const message = `${cluster} is not a PostgreSQL data folder`;
    throw new IronflowError('unavailable', 'postgres_folder_foreign', message, { cause: error });
  }
  if (found === majorVersion) return;
  const message =
    `${cluster} was made by PostgreSQL ${found}, and this is ${majorVersion}, which cannot open it;` +
    ' move the folder away to start with an empty database, or carry the data over with pg_upgrade';
  throw new IronflowError('unavailable', 'postgres_version_mismatch', message);
}

/**
 * After a kill -9 the server's own lock file names a process that is gone, or is somebody else's by now, and then
 * PostgreSQL would refuse to start.
 */
async function freeCluster(cluster: string, launchNote: string): Promise<void> {
  const lockPath = join(cluster, 'postmaster.pid');
  const serverPid = await readServerPid(lockPath);
  if (serverPid === undefined) return;
  await settlePredecessor({
    notePath: launchNote,
    serverPid,
    commandIncludes: ['postgres', cluster],
    server: 'PostgreSQL',
    folder: cluster,
    stopSignal: 'SIGINT',
    stopPatienceMs: orphanPatienceMs,
  });
  await rm(lockPath, { force: true });
}

async function readServerPid(lockPath: string): Promise<number | undefined> {
  const text = await readFile(lockPath, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Number.parseInt(text, 10);
}
