/** Config documents of an environment, and live views of them. Postgres is the truth; a notice says that one has changed. */
import type { Authenticator, ConfigStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { routes } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { payloadText } from './payload-text.js';
import { isStillAllowed, openStream } from './open-stream.js';
import { serve } from './serve-route.js';
import type { Watches } from './watches.js';

export interface ConfigOptions {
  authenticator: Authenticator;
  configStore: ConfigStore;
  notices: Pick<Notices, 'publishConfig'>;
  configChanges: ConfigChanges;
  watches: Pick<Watches, 'watch'>;
}

/** Who is told that a document has changed. */
export interface ConfigChanges {
  start(): void;
  listen(environmentId: string, name: string, onChange: () => void): () => void;
  stop(): void;
}

export function createConfigChanges(notices: Pick<Notices, 'onConfig'>): ConfigChanges {
  const listeners = new Map<string, Set<() => void>>();
  const keyOf = (environmentId: string, name: string): string => `${environmentId} ${name}`;
  let stopHearing: (() => void) | undefined;
  return {
    start: () => {
      stopHearing = notices.onConfig(({ scope, name }) => {
        for (const onChange of listeners.get(keyOf(scope.environmentId, name)) ?? []) onChange();
      });
    },
    listen: (environmentId, name, onChange) => {
      const key = keyOf(environmentId, name);
      const own = listeners.get(key) ?? new Set();
      listeners.set(key, own.add(onChange));
      return () => {
        own.delete(onChange);
        if (own.size === 0 && listeners.get(key) === own) listeners.delete(key);
      };
    },
    stop: () => stopHearing?.(),
  };
}

export function addConfig(app: HttpApp, options: ConfigOptions): void {
  const { configStore, notices } = options;
  const tell = (scope: Scope, name: string): void => notices.publishConfig({ scope, name });
  serve(app, options, routes.putConfig, async (request) => {
    const { scope } = principalOf(request);
    const { name } = request.params;
    const { data, revision } = request.body;
    const text = payloadText('config', data) ?? 'null';
    const document = await configStore.put(scope.environmentId, { name, data: text, revision });
    tell(scope, name);
    return document;
  });
  serve(app, options, routes.listConfig, async (request) => ({
    documents: await configStore.list(principalOf(request).scope.environmentId),
  }));
  serve(app, options, routes.getConfig, async (request) => {
    const document = await configStore.get(principalOf(request).scope.environmentId, request.params.name);
    if (document === undefined) throw configNotFound();
    return document;
  });
  serve(app, options, routes.deleteConfig, async (request) => {
    const { scope } = principalOf(request);
    const { name } = request.params;
    const wasThere = await configStore.delete(scope.environmentId, name, request.query.revision);
    if (!wasThere) throw configNotFound();
    tell(scope, name);
    return { name };
  });
  addWatch(app, options);
}

function addWatch(app: HttpApp, options: ConfigOptions): void {
  const { configStore, configChanges, watches, authenticator } = options;
  serve(app, options, routes.watchConfig, async (request, reply) => {
    const { environmentId } = principalOf(request).scope;
    const { name } = request.params;
    if ((await configStore.get(environmentId, name)) === undefined) throw configNotFound();
    let seen = 0;
    watches.watch({
      environmentId,
      next: async () => {
        const state = await configStore.state(environmentId, name);
        if (state === undefined || state.revision <= seen) return undefined;
        seen = state.revision;
        return `event: config\ndata: ${JSON.stringify(state)}\n\n`;
      },
      listen: (onChange) => configChanges.listen(environmentId, name, onChange),
      open: () => openStream(request, reply),
      isAllowed: () => isStillAllowed(authenticator, request, routes.watchConfig),
    });
    return reply;
  });
}

function configNotFound(): IronflowError {
  const message = 'there is no config document of that name in this environment';
  return new IronflowError('not_found', 'config_not_found', message);
}
