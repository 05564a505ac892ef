/** `client.config`: config documents of the environment. */
import type { ConfigDocument, ConfigSummary, ConfigUpdate, DeletedConfig } from '@ironflow/schema';
import type { Http } from './http.js';
import { readEvents } from './reconnecting-events.js';

export interface Config {
  /** Rejects with `config_not_found`. */
  get(name: string, options?: { signal?: AbortSignal }): Promise<ConfigDocument>;
  /**
   * Any JSON, at most 256 KiB. With `revision` only if the document is at that one now (0: there is none yet), else it rejects with
   * `revision_mismatch`; so it may after all that was stored, when the answer was lost on its way and the request repeated.
   */
  set(name: string, data: unknown, options?: { revision?: number }): Promise<ConfigDocument>;
  /** Without their data. */
  list(): Promise<ConfigSummary[]>;
  delete(name: string, options?: { revision?: number }): Promise<DeletedConfig>;
  /**
   * The document now and after each change, also once it was deleted and made again. What changes twice within a moment is told
   * once. Connects again when it is cut off; ends with `config_not_found` if there is none then.
   */
  watch(name: string, options?: { signal?: AbortSignal }): AsyncIterableIterator<ConfigUpdate>;
}

export function createConfig(http: Http): Config {
  const pathOf = (name: string): string => `/v1/config/${encodeURIComponent(name)}`;
  return {
    get: (name, { signal } = {}) => http.json({ method: 'GET', path: pathOf(name), signal }),
    set: async (name, data, { revision } = {}) =>
      http.json({ method: 'PUT', path: pathOf(name), body: JSON.stringify({ data, revision }) }),
    list: async () => {
      const list = await http.json<{ documents: ConfigSummary[] }>({ method: 'GET', path: '/v1/config' });
      return list.documents;
    },
    delete: (name, { revision } = {}) =>
      http.json({ method: 'DELETE', path: pathOf(name), query: { revision } }),
    watch: (name, { signal } = {}) => watchDocument(http, `${pathOf(name)}/watch`, signal),
  };
}

async function* watchDocument(
  http: Http,
  path: string,
  signal: AbortSignal | undefined,
): AsyncIterableIterator<ConfigUpdate> {
  let seen = 0;
  const updates = readEvents({
    http,
    signal,
    request: () => ({ path }),
    // A new connection begins with what may be known.
    isNews: ({ name, data }) => name === 'config' && (JSON.parse(data) as ConfigUpdate).revision > seen,
  });
  for await (const text of updates) {
    const update = JSON.parse(text) as ConfigUpdate;
    seen = update.revision;
    yield update;
  }
}
