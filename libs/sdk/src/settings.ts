/**
 * `secrets` and `config` as a handler has them: read when they are used, kept in this process for a short time, and never recorded.
 * Those who ask at the same time share one request.
 */
import type { Client } from './client/client.js';
import { unlessRefused } from './replay/platform-calls.js';

/** Of the environment that the function runs in. */
export interface HandlerSecrets {
  /**
   * The value now, or as it was at most 30 s ago. It is not recorded: a replay reads it again, and may find another. Within lines of
   * `logger` and recorded errors it is replaced. Fails for good if there is no such secret.
   */
  get(name: string): Promise<string>;
}

export interface Settings {
  readonly secrets: HandlerSecrets;
}

export interface SettingsOptions {
  /** Milliseconds of a clock that never goes back; the process's own by default. */
  elapsedMs?: () => number;
}

const lifetimeMs = 30_000;
const entriesMax = 1_000;

/** `client` is asked for when something is read first: an app that reads nothing needs no key. */
export function createSettings(
  client: () => { secrets: Pick<Client['secrets'], 'get'> },
  options: SettingsOptions = {},
): Settings {
  const secrets = createReads<string>(options);
  return {
    secrets: {
      get: (name) =>
        secrets.get(name, () => unlessRefused(async () => client().secrets.get(name))),
    },
  };
}

interface Entry<Value> {
  loadedAtMs: number;
  value: Promise<Value>;
}

interface Reads<Value> {
  get(name: string, load: () => Promise<Value>): Promise<Value>;
}

/** Failures are not kept. */
function createReads<Value>({ elapsedMs = () => performance.now() }: SettingsOptions): Reads<Value> {
  const entries = new Map<string, Entry<Value>>();
  return {
    get: (name, load) => {
      const known = entries.get(name);
      if (known !== undefined && elapsedMs() - known.loadedAtMs < lifetimeMs) return known.value;
      const entry = { loadedAtMs: elapsedMs(), value: load() };
      entries.delete(name);
      entries.set(name, entry);
      if (entries.size > entriesMax) entries.delete(entries.keys().next().value!);
      entry.value.catch(() => {
        if (entries.get(name) === entry) entries.delete(name);
      });
      return entry.value;
    },
  };
}
