/**
 * One whole platform for a test file: every service in this process, behind one URL, on a PostgreSQL and a nats-server of
 * its own. What is started through it (workers, endpoints) is stopped with it.
 */
import { createDatabase } from '@ironflow/database';
import type { executorService } from '@ironflow/executor';
import { startPlatform } from '@ironflow/platform';
import type { Platform } from '@ironflow/platform';
import { createClient, createWorker } from '@ironflow/sdk';
import type { Client, IronflowFunction, RunDetail, Worker, WorkerOptions } from '@ironflow/sdk';
import { createLifecycle, createLogger, startService } from '@ironflow/service';
import type { StartedService } from '@ironflow/service';
import { createScratch, eventually, throwAwayPostgres } from '@ironflow/testing';
import { startPushApp } from './push-app.js';
import type { PushApp } from './push-app.js';

/** One environment, as its user has it. */
export interface Tenant {
  environmentId: string;
  ironflowUrl: string;
  apiKey: string;
  signingKey: string;
  client: Client;
  startWorker(
    app: string,
    functions: IronflowFunction[],
    slots?: number,
    build?: Pick<WorkerOptions, 'buildId' | 'pinRuns'>,
  ): Promise<Worker>;
  startPushApp(app: string, functions: IronflowFunction[]): Promise<PushApp>;
  /** Of one run, when it has ended. */
  ended(runId: string, timeoutMs?: number): Promise<RunDetail>;
  /** The runs of an event, when there are so many and all have ended. */
  endedRunsOf(eventId: string, count?: number, timeoutMs?: number): Promise<RunDetail[]>;
}

export interface PlatformUnderTest {
  platform: Platform;
  /** The environment that every platform has. */
  tenant: Tenant;
  createTenant(project: string, env: string): Promise<Tenant>;
  /** As the owner of the database, who sees every environment. */
  query<Row>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Another replica of a service, in this process too. */
  startReplica(definition: typeof executorService): Promise<StartedService>;
  /** Everything that the services logged so far. */
  logs(): string;
  stop(): Promise<void>;
}

const endedStatuses = new Set(['completed', 'failed', 'cancelled', 'skipped']);
const endedWithinMs = 15_000;

export async function startPlatformUnderTest(env: NodeJS.ProcessEnv = {}): Promise<PlatformUnderTest> {
  const scratch = await createScratch('end-to-end');
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'end-to-end', level: 'silent' }) });
  const lines: string[] = [];
  const stop = async (): Promise<void> => {
    await lifecycle.stop().finally(() => scratch.remove());
  };
  try {
    const loggerFor = (service: string) =>
      createLogger({ service, level: 'debug', destination: { write: (line) => void lines.push(line) } });
    const platform = await startPlatform({
      dataFolder: scratch.path,
      env: { IRONFLOW_DRAIN_TIMEOUT_MS: '500', ...env },
      lifecycle,
      loggerFor,
      say: () => undefined,
      port: 0,
      postgres: throwAwayPostgres(),
    });
    const { ownerUrl } = platform.servers;
    const database = createDatabase({ url: ownerUrl, applicationName: 'end-to-end', maxConnections: 2 });
    lifecycle.onStop('end-to-end database', () => database.close());
    const query: PlatformUnderTest['query'] = (text, values = []) =>
      database.query({ name: `end_to_end_${statementNameOf(text)}`, text }, values);
    const tenantOf = (of: { environmentId: string; apiKey: string; signingKey: string }): Tenant =>
      createTenant({ ...of, ironflowUrl: platform.url }, (name, end) => lifecycle.onStop(name, end));
    const [own] = await query<{ id: string }>('select id from environments');
    return {
      platform,
      tenant: tenantOf({ ...platform, environmentId: own!.id }),
      createTenant: async (project, name) => tenantOf(await platform.createEnvironment(project, name)),
      query,
      startReplica: async (definition) => {
        const logger = loggerFor(definition.name);
        return startService(definition, { env: platform.serviceEnv, lifecycle, logger, listen: false });
      },
      logs: () => lines.join(''),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function createTenant(
  of: { environmentId: string; apiKey: string; signingKey: string; ironflowUrl: string },
  onStop: (name: string, end: () => unknown) => void,
): Tenant {
  const client = createClient(of);
  const ended: Tenant['ended'] = (runId, timeoutMs = endedWithinMs) =>
    eventually(
      async () => {
        const run = await client.runs.get(runId);
        if (!endedStatuses.has(run.status)) throw new Error(`the run is ${run.status}`);
        return run;
      },
      { timeoutMs, intervalMs: 25 },
    );
  return {
    ...of,
    client,
    startWorker: async (app, functions, slots = 100, build = {}) => {
      const worker = createWorker({
        ...of,
        ...build,
        app,
        functions,
        slots,
        handleSignals: false,
        log: () => {},
      });
      onStop(`worker of ${app}`, () => worker.stop({ timeoutMs: 0 }));
      await worker.start();
      return worker;
    },
    startPushApp: async (app, functions) => {
      const pushApp = await startPushApp({ ...of, app, functions });
      onStop(`endpoint of ${app}`, () => pushApp.stop());
      await pushApp.register();
      return pushApp;
    },
    ended,
    endedRunsOf: async (eventId, count = 1, timeoutMs = endedWithinMs) => {
      const runs = await eventually(
        async () => {
          const found = (await client.runs.list({ event: eventId })).runs;
          if (found.length !== count) throw new Error(`${found.length} of ${count} runs are there`);
          return found;
        },
        { timeoutMs, intervalMs: 25 },
      );
      return Promise.all(runs.map(({ id }) => ended(id, timeoutMs)));
    },
  };
}

/** A prepared statement has one text for its name. */
function statementNameOf(text: string): string {
  let hash = 0;
  for (const character of text) hash = (hash * 31 + character.charCodeAt(0)) >>> 0;
  return hash.toString(36);
}
