/** What the executor's integration suites share: a world, what is undone after each test, and runs, workers, endpoints in it. */
import type { RequestListener } from 'node:http';
import { afterAll, afterEach, beforeAll } from '@jest/globals';
import type { JournalEntry } from '@ironflow/schema';
import { eventually, stopSharedServers } from '@ironflow/testing';
import { listen } from './endpoint.js';
import type { Endpoint } from './endpoint.js';
import { connectRawWorker } from './raw-worker.js';
import type { RawWorker } from './raw-worker.js';
import { createWorld } from './world.js';
import type { RunHandle, RunningExecutor, World } from './world.js';

export const patience = { timeoutMs: 15_000 };

export type Retries = { attempts?: number; initialDelayMs?: number };

/** To be called once, at the top of a suite. */
export function useWorld() {
  let world: World;
  const undo: (() => unknown)[] = [];
  beforeAll(async () => {
    world = await createWorld();
  }, 60_000);
  afterEach(async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  });
  afterAll(async () => {
    await world.stop();
    await stopSharedServers();
  });

  /** An app with one function of the same name. */
  const createApp = async (retries: Retries = {}, url?: string): Promise<string> => {
    const appId = `app${Math.random().toString(36).slice(2)}`;
    const app = { id: appId, ...(url === undefined ? {} : { url }) };
    await world.register(world.ours.scope, app, { [appId]: retries });
    return appId;
  };
  const createPullRun = (appId: string, data?: unknown): Promise<RunHandle> =>
    world.createRun({ scope: world.ours.scope, appId, functionId: appId, mode: 'pull' }, data);
  return {
    world: () => world,
    undo: (step: () => unknown) => void undo.push(step),
    start: async (changes?: Parameters<World['startExecutor']>[0]): Promise<RunningExecutor> => {
      const executor = await world.startExecutor(changes);
      undo.push(() => executor.stop());
      return executor;
    },
    connect: async (
      executor: { url: string },
      appId: string,
      options: { slots?: number; apiKey?: string; buildId?: string; pinRuns?: boolean } = {},
    ): Promise<RawWorker> => {
      const { apiKey = world.ours.apiKey, ...more } = options;
      const worker = await connectRawWorker({ url: executor.url, apiKey, hello: { appId, ...more } });
      undo.push(() => worker.terminate());
      await worker.next('welcome');
      return worker;
    },
    open: async (listener: RequestListener): Promise<Endpoint> => {
      const endpoint = await listen(listener);
      undo.push(() => endpoint.close());
      return endpoint;
    },
    createApp,
    createPullRun,
    /** A pull run that has been activated. */
    activated: async (appId: string): Promise<RunHandle> => {
      const run = await createPullRun(appId);
      await world.activate(run);
      return run;
    },
    /** A run of a function of its own, at an endpoint of its own. */
    createPushRun: async (url: string, retries: Retries = {}): Promise<RunHandle> => {
      const appId = await createApp(retries, url);
      return world.createRun({ scope: world.ours.scope, appId, functionId: appId, mode: 'push' });
    },
    /** Its entries, once the activation has ended and its message is gone. */
    ended: (run: RunHandle): Promise<JournalEntry[]> =>
      eventually(async () => {
        const entries = await world.entries(run);
        const last = entries.at(-1);
        if (last?.type !== 'run' || last.run.kind === 'started' || last.run.kind === 'stopping')
          throw new Error('the activation goes on');
        if (await world.isActivated(run)) throw new Error('the activation is not acknowledged');
        return entries;
      }, patience),
  };
}

export const stepIds = (entries: JournalEntry[]): string[] =>
  entries.flatMap((entry) => (entry.type === 'step' ? [entry.step.id] : []));

export const isActivate = <Message extends { type: string }>(
  message: Message,
): message is Extract<Message, { type: 'activate' }> => message.type === 'activate';

/** An endpoint's answer that goes on after steps, and one that ends the run. */
export const answer = (body: unknown): RequestListener => {
  return (_request, response) => response.end(JSON.stringify(body));
};
export const done = { v: 1, records: [], outcome: { kind: 'completed', output: '"done"' } };
