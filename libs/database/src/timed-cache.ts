/**
 * Remembers what was loaded for a while, at most so many entries (the one longest unused goes first), and
 * loads once for however many ask at the same time. Failures are not remembered.
 */
export interface TimedCacheOptions {
  entriesMax: number;
  lifetimeMs: number;
  /** Milliseconds of a clock that never goes back; the process's own by default. */
  elapsedMs?: (() => number) | undefined;
}

export interface TimedCache<Value> {
  get(key: string, load: () => Promise<Value>): Promise<Value>;
  /** Of what was loaded, the values that match; what is being loaded may be of before, and is not remembered. */
  forget(matches: (value: Value, key: string) => boolean): void;
}

interface Entry<Value> {
  loadedAtMs: number;
  value: Promise<Value>;
  loaded?: { value: Value };
}

export function createTimedCache<Value>(options: TimedCacheOptions): TimedCache<Value> {
  const elapsedMs = options.elapsedMs ?? (() => performance.now());
  // A Map iterates in the order of insertion: what is used is put at its end again.
  const entries = new Map<string, Entry<Value>>();

  const remember = (key: string, entry: Entry<Value>): void => {
    entries.delete(key);
    entries.set(key, entry);
    if (entries.size > options.entriesMax) entries.delete(entries.keys().next().value!);
  };
  return {
    get: (key, load) => {
      const known = entries.get(key);
      if (known !== undefined && elapsedMs() - known.loadedAtMs < options.lifetimeMs) {
        remember(key, known);
        return known.value;
      }
      const entry: Entry<Value> = { loadedAtMs: elapsedMs(), value: load() };
      remember(key, entry);
      entry.value.then(
        (value) => (entry.loaded = { value }),
        () => {
          if (entries.get(key) === entry) entries.delete(key);
        },
      );
      return entry.value;
    },
    forget: (matches) => {
      for (const [key, { loaded }] of entries) {
        if (loaded === undefined || matches(loaded.value, key)) entries.delete(key);
      }
    },
  };
}
