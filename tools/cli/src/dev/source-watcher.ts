/**
 * Hears when somebody saves a source file below a folder. One watch a folder, because Node's recursive one walks into
 * node_modules and on Linux misses files in folders made later. Only sources count: an app that writes data beside its
 * code must not restart itself for ever.
 */
import { readdirSync, watch } from 'node:fs';
import type { Dirent, FSWatcher } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';

export interface SourceWatcherOptions {
  folder: string;
  /** Folders that are left out, besides node_modules and those that begin with a dot. */
  ignored: string[];
  /** With the path of the file, from the folder. */
  onSave: (file: string) => void;
  say: (line: string) => void;
}

const sources = /\.[cm]?[jt]sx?$/;
/** A system's watches are few and shared by all its programs. */
const foldersMax = 2_000;

export function watchSources(options: SourceWatcherOptions): { stop(): void } {
  const root = resolve(options.folder);
  const ignored = new Set(options.ignored.map((folder) => resolve(folder)));
  const watches = new Map<string, FSWatcher>();
  let isFull = false;

  const giveUp = (folder: string, why: string): void => {
    if (!isFull)
      options.say(`not every folder is watched (${folder}: ${why}); --watch chooses a smaller one`);
    isFull = true;
  };
  const forget = (folder: string): void => {
    watches.get(folder)?.close();
    watches.delete(folder);
  };
  const follow = (folder: string): void => {
    const name = basename(folder);
    const isLeftOut = folder !== root && (name.startsWith('.') || name === 'node_modules');
    if (isLeftOut || ignored.has(folder) || watches.has(folder)) return;
    if (watches.size >= foldersMax) return giveUp(folder, `more than ${foldersMax} folders`);
    const entries = entriesOf(folder);
    if (entries === undefined) return;
    try {
      const watched = watch(folder, (_event, file) => {
        if (file !== null) changed(folder, file);
      });
      watched.on('error', () => forget(folder));
      watches.set(folder, watched);
    } catch (error) {
      return giveUp(folder, (error as NodeJS.ErrnoException).code ?? 'it cannot be watched');
    }
    for (const entry of entries) if (entry.isDirectory()) follow(join(folder, entry.name));
  };
  const changed = (folder: string, name: string): void => {
    const path = join(folder, name);
    if (sources.test(name)) return options.onSave(relative(root, path));
    const entries = entriesOf(path);
    if (entries === undefined) return forget(path);
    const isNew = !watches.has(path);
    follow(path);
    // What was put into it before the watch began is heard here.
    const first = entries.find((entry) => entry.isFile() && sources.test(entry.name));
    if (isNew && watches.has(path) && first !== undefined)
      options.onSave(relative(root, join(path, first.name)));
  };

  follow(root);
  return {
    stop: () => {
      for (const folder of [...watches.keys()]) forget(folder);
    },
  };
}

/** Undefined for what is no folder, or no longer there. */
function entriesOf(path: string): Dirent[] | undefined {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return undefined;
  }
}
