/** Where things are. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** From the sources and from dist alike. */
export const workspace = fileURLToPath(new URL('../../../', import.meta.url));
export const chartFolder = join(workspace, 'helm/ironflow');

/** Programs and schemas, which take minutes to make. Nothing of them is ever in the repository. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'ironflow', 'chart');
}
