/**
 * Where the nats-server program is. Finding and fetching it is the business of tools/setup, which has to work before
 * anything is installed and is therefore asked as a command, once a process.
 */
import { IronflowError, messageOf } from '@ironflow/errors';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const finder = 'tools/setup/nats-server.mjs';
/** It may have to compile. */
const findWithinMs = 12 * 60_000;

let found: Promise<string> | undefined;

export function natsServerProgram(): Promise<string> {
  const chosen = process.env.NATS_SERVER_BIN;
  if (chosen !== undefined && chosen !== '') return Promise.resolve(chosen);
  found ??= askFinder().catch((error: unknown) => {
    found = undefined;
    throw error;
  });
  return found;
}

async function askFinder(): Promise<string> {
  const script = join(workspaceRoot(), finder);
  try {
    const asked = promisify(execFile)(process.execPath, [script], {
      timeout: findWithinMs,
      // Options such as --experimental-vm-modules are ours, not the command's.
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    // Fetching one can take minutes: whoever waits sees what is done. Why it failed comes with the error.
    createInterface({ input: asked.child.stderr! }).on('line', (line) => {
      if (/^(nats-server|waiting)/.test(line)) process.stderr.write(`${line}\n`);
    });
    return (await asked).stdout.trim();
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim() ?? '';
    throw new IronflowError('unavailable', 'nats_server_missing', said === '' ? messageOf(error) : said, {
      cause: error,
    });
  }
}

/** From the sources and from dist alike: the nearest folder above that has the finder. */
function workspaceRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, finder))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`${finder} was not found above this package`);
    folder = parent;
  }
  return folder;
}
