/** What deploy/ says, for what checks it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const deployFolder = fileURLToPath(new URL('../../../deploy/', import.meta.url));

export function readDeployed(path: string): string {
  return readFileSync(`${deployFolder}${path}`, 'utf8');
}
