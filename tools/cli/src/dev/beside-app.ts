/** `ironflow dev` beside the platform: the user's app starts, starts again on every save, and registers each time. */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '@ironflow/errors';
import type { RegisterAnswer } from '@ironflow/sdk';
import { AppUnreachableError, syncApp } from '../commands/apps.js';
import { createAppProcess } from './app-process.js';
import { watchSources } from './source-watcher.js';

export interface BesideAppOptions {
  /** A command that starts the app. */
  run?: string;
  /** Where a push app is served: it is asked to register. */
  app?: string;
  watch: string;
  ignored: string[];
  platform: { url: string; apiKey: string; signingKey: string };
  env: NodeJS.ProcessEnv;
  output: 'stdout' | 'stderr';
  say: (line: string) => void;
}

/** Editors write several files, or one in several steps. */
const settleMs = 200;
/** An app that watches itself is first given the time to restart: the old one would register what it was. */
const settleWithoutRunMs = 1_000;
const registerWithinMs = 20_000;
const registerPauseMs = 200;

/** Answers how to end it. */
export function besideApp(options: BesideAppOptions): () => Promise<void> {
  const { run, app, platform, say } = options;
  if (run === undefined && app === undefined) return async () => undefined;
  const env = {
    ...options.env,
    IRONFLOW_URL: platform.url,
    IRONFLOW_API_KEY: platform.apiKey,
    IRONFLOW_SIGNING_KEY: platform.signingKey,
  };
  const child = run === undefined ? undefined : createAppProcess({ ...options, command: run, env });
  let registering: AbortController | undefined;
  const begin = async (): Promise<void> => {
    registering?.abort();
    const own = (registering = new AbortController());
    await child?.restart();
    if (app !== undefined && !own.signal.aborted) await register({ app, say, stopping: own.signal });
  };
  let settling: NodeJS.Timeout | undefined;
  const watcher = watchSources({
    folder: options.watch,
    ignored: options.ignored,
    say,
    onSave: (file) => {
      clearTimeout(settling);
      settling = setTimeout(
        () => {
          say(`${file} changed`);
          void begin();
        },
        run === undefined ? settleWithoutRunMs : settleMs,
      );
    },
  });
  void begin();
  return async () => {
    watcher.stop();
    clearTimeout(settling);
    registering?.abort();
    await child?.stop();
  };
}

/** An app that has just been started does not answer yet. */
async function register(of: {
  app: string;
  say: (line: string) => void;
  stopping: AbortSignal;
}): Promise<void> {
  const deadlineMs = performance.now() + registerWithinMs;
  for (;;) {
    try {
      return of.say(describe(await syncApp(of.app, of.stopping)));
    } catch (error) {
      if (of.stopping.aborted) return;
      const mayCome = error instanceof AppUnreachableError && performance.now() < deadlineMs;
      if (!mayCome) return of.say(messageOf(error));
    }
    await delay(registerPauseMs, undefined, { signal: of.stopping }).catch(() => undefined);
  }
}

function describe({ appId, registered, unchanged, archived }: RegisterAnswer): string {
  const functions = [...registered, ...unchanged].join(', ') || 'no functions';
  const gone = archived.length === 0 ? '' : `; archived: ${archived.join(', ')}`;
  return `app ${appId} registered: ${functions}${gone}`;
}
