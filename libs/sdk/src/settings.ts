/**
 * `secrets` and `config` as a handler has them: read when they are used, kept in this process for a short time, and never recorded.
 * Those who ask at the same time share one request.
 */
import { IronflowApiError } from './client/api-error.js';
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

/** Of the environment that the function runs in. */
export interface HandlerConfig {
  /**
   * The document's data now, or as it was at most 30 s ago; a worker hears of changes within a second. `undefined` if there is no
   * such document. It is not recorded: read it within a step if the run is to go on with what it began with.
   */
  get<Data = unknown>(name: string): Promise<Data | undefined>;
}

export interface Settings {
  readonly secrets: HandlerSecrets;
  readonly config: HandlerConfig;
}

export interface SettingsClient {
  secrets: Pick<Client['secrets'], 'get'>;
  config: Pick<Client['config'], 'get' | 'watch'>;
}

export interface SettingsOptions {
  /** Config documents that were read are watched, until it is aborted. Without it they are only read again. */
  watchUntil?: AbortSignal;
  /** Milliseconds of a clock that never goes back; the process's own by default. */
  elapsedMs?: () => number;
}

const lifetimeMs = 30_000;
const entriesMax = 1_000;
/** Each is a connection. */
const watchesMax = 20;

/** `client` is asked for when something is read first: an app that reads nothing needs no key. */
export function createSettings(client: () => SettingsClient, options: SettingsOptions = {}): Settings {
  const secrets = createReads<string>(options);
  const documents = createReads<unknown>(options);
  const watched = new Set<string>();
  const watch = async (name: string, signal: AbortSignal): Promise<void> => {
    watched.add(name);
    try {
      for await (const update of client().config.watch(name, { signal })) {
        documents.put(name, update.deleted === true ? undefined : update.data);
      }
    } catch {
      // From now on it is read again, and watched from then on.
    } finally {
      watched.delete(name);
    }
  };
  const readDocument = async (name: string): Promise<unknown> => {
    const document = await readIfThere(() => client().config.get(name));
    const { watchUntil } = options;
    if (document !== undefined && watchUntil?.aborted === false) {
      if (!watched.has(name) && watched.size < watchesMax) void watch(name, watchUntil);
    }
    return document?.data;
  };
  return {
    secrets: {
      get: (name) => secrets.get(name, () => unlessRefused(async () => client().secrets.get(name))),
    },
    config: {
      get: async <Data>(name: string) =>
        (await documents.get(name, () => unlessRefused(() => readDocument(name)))) as Data | undefined,
    },
  };
}

async function readIfThere<Answer>(read: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await read();
  } catch (thrown) {
    if (thrown instanceof IronflowApiError && thrown.code === 'config_not_found') return undefined;
    throw thrown;
  }
}

interface Entry<Value> {
  loadedAtMs: number;
  value: Promise<Value>;
}

interface Reads<Value> {
  get(name: string, load: () => Promise<Value>): Promise<Value>;
  put(name: string, value: Value): void;
}

/** Failures are not kept. */
function createReads<Value>({ elapsedMs = () => performance.now() }: SettingsOptions): Reads<Value> {
  const entries = new Map<string, Entry<Value>>();
  const keep = (name: string, value: Promise<Value>): Entry<Value> => {
    const entry = { loadedAtMs: elapsedMs(), value };
    entries.delete(name);
    entries.set(name, entry);
    if (entries.size > entriesMax) entries.delete(entries.keys().next().value!);
    return entry;
  };
  return {
    get: (name, load) => {
      const known = entries.get(name);
      if (known !== undefined && elapsedMs() - known.loadedAtMs < lifetimeMs) return known.value;
      const entry = keep(name, load());
      entry.value.catch(() => {
        if (entries.get(name) === entry) entries.delete(name);
      });
      return entry.value;
    },
    put: (name, value) => void keep(name, Promise.resolve(value)),
  };
}
