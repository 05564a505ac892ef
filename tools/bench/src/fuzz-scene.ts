/** An environment that has one of everything, and keys of each role for it. */
import type { routes } from '@ironflow/schema';
import type { Platform } from '@ironflow/platform';
import { createClient, createFunction, createWorker, NonRetryableError } from '@ironflow/sdk';
import { createRecipes } from './fuzz-recipes.js';
import type { Call } from './fuzz-recipes.js';
import type { FuzzRequest } from './fuzz-values.js';
import type { Stage } from './program.js';

export interface FuzzScene {
  /** By role; `none` is the empty one. */
  keys: Record<string, string>;
  /** A request of the route that is right now, and may be so only once. */
  right(route: keyof typeof routes): Promise<FuzzRequest>;
}

export async function setFuzzScene(stage: Stage, platform: Platform, project: string): Promise<FuzzScene> {
  const manage = createCall(platform.url, platform.operatorKey);
  const { environments } = (await manage('POST', '/v1/tenants', { project, environments: ['fuzz'] })) as {
    environments: { apiKey: string }[];
  };
  const { apiKey } = environments[0]!;
  const client = createClient({ ironflowUrl: platform.url, apiKey });
  const worker = createWorker({
    ...{ ironflowUrl: platform.url, apiKey, app: 'fuzz', slots: 50, functions: functions() },
    ...{ handleSignals: false, log: () => undefined },
  });
  stage.lifecycle.onStop('worker', () => worker.stop({ timeoutMs: 0 }));
  await worker.start();
  const call = createCall(platform.url, apiKey);
  const recipes = createRecipes({ client, call, manage, project });
  const methods = await readMethods(platform.url);
  return {
    keys: {
      admin: apiKey,
      developer: await keyOf(call, 'developer'),
      viewer: await keyOf(call, 'viewer'),
      operator: platform.operatorKey,
      none: '',
    },
    right: async (route) => {
      const { params = {}, query = {}, headers = {}, body } = await recipes[route]();
      const request = { method: methods.get(route)!, params, query, headers };
      return body === undefined ? request : { ...request, body };
    },
  };
}

async function keyOf(call: Call, role: string): Promise<string> {
  return String((await call('POST', '/v1/keys', { name: role, role })).key);
}

function functions() {
  return [
    createFunction({ id: 'waiting', triggers: [{ event: 'fuzz.asked' }] }, async ({ step }) => {
      await step.run('first', () => 1);
      return step.approve('second', { timeout: '1h' });
    }),
    createFunction({ id: 'failing', triggers: [{ event: 'fuzz.failed' }] }, () => {
      throw new NonRetryableError('as it should');
    }),
    createFunction({ id: 'quick', triggers: [{ event: 'fuzz.quick' }] }, () => 'done'),
    createFunction({ id: 'yearly', triggers: [{ cron: '0 0 1 1 *' }] }, () => 'done'),
  ];
}

function createCall(url: string, apiKey: string): Call {
  return async (method, path, body) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${apiKey}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path} was answered ${answer.status}`);
    return (await answer.json()) as Record<string, unknown>;
  };
}

async function readMethods(url: string): Promise<Map<string, string>> {
  const { paths } = (await (await fetch(`${url}/v1/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { operationId: string }>>;
  };
  return new Map(
    Object.values(paths).flatMap((methods) =>
      Object.entries(methods).map(
        ([method, { operationId }]) => [operationId, method.toUpperCase()] as const,
      ),
    ),
  );
}
