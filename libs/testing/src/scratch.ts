/**
 * A folder of its own for a test or a throw-away server, removed afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Scratch {
  readonly path: string;
  /** A path inside; nothing is created. */
  file(...names: string[]): string;
  remove(): Promise<void>;
}

export async function createScratch(name = 'test'): Promise<Scratch> {
  const path = await mkdtemp(join(tmpdir(), `ironflow-${name}-`));
  return {
    path,
    file: (...names) => join(path, ...names),
    // A server that was just killed may still be creating files; removal is tried again then.
    remove: () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }),
  };
}
