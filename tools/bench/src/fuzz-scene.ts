/** An environment that has one of everything, and for each route of the platform a request that is right in it. */
import { createHmac } from 'node:crypto';
import type { routes } from '@ironflow/schema';
import type { Platform } from '@ironflow/platform';
import { createClient, createFunction, createWorker, NonRetryableError } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import type { FuzzRequest } from './fuzz-values.js';
import type { Stage } from './program.js';

export interface FuzzScene {
  /** By role; `none` is the empty one. */
  keys: Record<string, string>;
  /** A request of the route that is right now, and may be so only once. */
  right(route: keyof typeof routes): Promise<FuzzRequest>;
}

type Parts = Partial<Pick<FuzzRequest, 'params' | 'query' | 'headers' | 'body'>>;
type Recipes = Record<keyof typeof routes, () => Parts | Promise<Parts>>;

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

type Call = (method: string, path: string, body?: unknown) => Promise<Record<string, unknown>>;

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

const longAgo = '2020-01-01T00:00:00Z';
const webhookSecret = 'a secret that only this scene has';
const sourcesMax = 10;

function createRecipes({
  client,
  call,
  manage,
  project: ownProject,
}: {
  client: Client;
  call: Call;
  manage: Call;
  project: string;
}): Recipes {
  let made = 0;
  const sources: string[] = [];
  const json = (value: unknown): Parts => ({ body: { json: value } });
  const within = (id: string, value?: unknown): Parts => ({
    params: { id },
    ...(value === undefined ? {} : json(value)),
  });
  const runOf = async (event: string, status: string): Promise<string> => {
    const { ids } = await client.emit({ name: event, data: { amount: 1 } });
    return eventually(
      async () => {
        const run = (await client.runs.list({ event: ids[0]! })).runs[0];
        if (run?.status !== status) throw new Error(`the run is ${run?.status ?? 'not there'}`);
        return run.id;
      },
      { timeoutMs: 20_000 },
    );
  };
  const waiting = () => runOf('fuzz.asked', 'waiting');
  const letter = async (): Promise<string> => {
    const run = await runOf('fuzz.failed', 'failed');
    return eventually(async () => {
      const { deadLetters } = (await call('GET', '/v1/dead-letters')) as {
        deadLetters: { id: string; runId?: string }[];
      };
      const found = deadLetters.find(({ runId }) => runId === run);
      if (found === undefined) throw new Error('its dead letter is not there yet');
      return found.id;
    });
  };
  const link = async (): Promise<Parts> => {
    const { path } = await call('POST', `/v1/runs/${await waiting()}/approval-links`, { name: 'second' });
    return { params: { token: String(path).split('/').at(-1)! } };
  };
  const later = async (): Promise<Parts> => {
    const at = new Date(Date.now() + 86_400_000).toISOString();
    const { ids } = await client.emit({ name: 'fuzz.later', at });
    return within(ids[0]!);
  };
  const webhookBody = () => {
    const id = `source-${(made += 1)}`;
    sources.push(id);
    return { id, provider: 'github', secret: webhookSecret };
  };
  const webhook = async (): Promise<{ id: string; path: string }> => {
    // There may be only so many of them.
    while (sources.length > sourcesMax)
      await call('DELETE', `/v1/webhooks/${sources.shift()!}`).catch(() => undefined);
    return (await call('POST', '/v1/webhooks', webhookBody())) as { id: string; path: string };
  };
  const delivery = async (): Promise<Parts> => {
    const { path } = await webhook();
    const bytes = Buffer.from(JSON.stringify({ action: 'opened', number: 1 }));
    const signature = createHmac('sha256', webhookSecret).update(bytes).digest('hex');
    return {
      params: { address: path.split('/').at(-1)! },
      headers: {
        'x-hub-signature-256': `sha256=${signature}`,
        'x-github-event': 'pull_request',
        'x-github-delivery': `delivery-${(made += 1)}`,
      },
      body: { bytes },
    };
  };
  const freshKey = async (): Promise<string> =>
    String((await call('POST', '/v1/keys', { name: 'to end', role: 'viewer' })).id);
  const tenant = async () => {
    const project = `${ownProject}-${(made += 1)}`;
    await manage('POST', '/v1/tenants', { project, environments: ['prod'] });
    return { project, env: 'prod' };
  };
  const secret = async (): Promise<string> => {
    await call('PUT', '/v1/secrets/A_SECRET', { value: 'hidden' });
    return 'A_SECRET';
  };
  const config = async (): Promise<string> => {
    await call('PUT', '/v1/config/settings', { data: { amount: 1 } });
    return 'settings';
  };
  const kvKey = async () => {
    await call('PUT', '/v1/kv/bucket', {});
    await call('PUT', '/v1/kv/bucket/keys/key', { value: 1 });
    return { bucket: 'bucket', key: 'key' };
  };
  const schedule = async (): Promise<string> => {
    const { schedules } = (await call('GET', '/v1/schedules')) as { schedules: { id: string }[] };
    return schedules[0]!.id;
  };
  const opened = async (): Promise<Parts> => {
    await call('POST', '/v1/breakers/quick/open', {});
    return within('quick', {});
  };
  return {
    emitEvents: () => json({ name: 'fuzz.quick', data: { amount: 1 } }),
    invokeFunction: () => json({ function: 'quick', data: {} }),
    listRuns: () => ({ query: { limit: '5' } }),
    getRun: async () => within(await waiting()),
    watchRun: async () => within(await waiting()),
    cancelRun: async () => within(await waiting()),
    cancelRuns: () => json({ function: 'yearly', dryRun: true }),
    unpinRun: async () => within(await waiting()),
    signalRun: async () => within(await waiting(), { name: 'nudge', data: { amount: 1 } }),
    createApprovalLink: async () => within(await waiting(), { name: 'second' }),
    decideApproval: async () => within(await waiting(), { name: 'second', approved: true }),
    showApproval: link,
    decideByLink: async () => ({
      ...(await link()),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: { bytes: Buffer.from('decision=approve') },
    }),
    rerunRun: async () => within(await runOf('fuzz.quick', 'completed'), {}),
    rerunRuns: () => json({ status: 'failed', from: longAgo, function: 'yearly' }),
    listEvents: () => ({ query: { limit: '5' } }),
    getEvent: async () => within((await client.emit({ name: 'fuzz.seen' })).ids[0]!),
    listDeadLetters: () => ({ query: { limit: '5' } }),
    getDeadLetter: async () => within(await letter()),
    replayDeadLetter: async () => within(await letter()),
    replayDeadLetters: () => json({ from: longAgo, dryRun: true }),
    discardDeadLetter: async () => within(await letter()),
    listFunctions: () => ({}),
    getFunction: () => within('quick'),
    pauseFunction: () => within('yearly'),
    resumeFunction: () => within('quick'),
    getQueue: () => within('quick'),
    listQueues: () => ({}),
    getEnvironment: () => ({}),
    pauseEnvironment: () => ({}),
    resumeEnvironment: () => ({}),
    replayEvents: () => within('quick', { event: 'fuzz.seen', from: longAgo, dryRun: true }),
    listScheduledEvents: () => ({ query: { limit: '5' } }),
    cancelScheduledEvent: later,
    listSchedules: () => ({ query: { limit: '5' } }),
    getSchedule: async () => within(await schedule()),
    pauseSchedule: async () => within(await schedule()),
    resumeSchedule: async () => within(await schedule()),
    triggerSchedule: async () => within(await schedule(), {}),
    backfillSchedule: async () =>
      within(await schedule(), { from: longAgo, to: '2021-01-02T00:00:00Z', dryRun: true }),
    listBreakers: () => ({}),
    getBreaker: () => within('quick'),
    openBreaker: () => within('yearly', { forMs: 1_000 }),
    resetBreaker: opened,
    publishMessage: () => ({ params: { topic: 'fuzz.topic' }, ...json({ data: { amount: 1 } }) }),
    watchTopic: () => ({ params: { topic: 'fuzz.*' } }),
    listApps: () => ({}),
    registerApp: () => within('fuzz-other', { id: 'fuzz-other', mode: 'pull', functions: [] }),
    createWebhook: async () => {
      await webhook();
      return json(webhookBody());
    },
    listWebhooks: () => ({}),
    getWebhook: async () => within((await webhook()).id),
    rotateWebhook: async () => within((await webhook()).id, { graceSeconds: 60 }),
    pauseWebhook: async () => within((await webhook()).id),
    resumeWebhook: async () => within((await webhook()).id),
    deleteWebhook: async () => within((await webhook()).id),
    listDeliveries: async () => within((await webhook()).id),
    receiveWebhook: delivery,
    listAudit: () => ({ query: { limit: '5' } }),
    verifyAudit: () => ({}),
    getIdentity: () => ({}),
    getQuotas: () => ({}),
    setQuotas: async () => ({ params: await tenant(), ...json({ queuedRuns: 900_000 }) }),
    createCredential: () => json({ name: 'fuzz' }),
    listCredentials: () => ({}),
    revokeCredential: async () =>
      within(String((await call('POST', '/v1/credentials', { name: 'fuzz' })).id)),
    setSecret: () => ({ params: { name: 'A_SECRET' }, ...json({ value: 'hidden' }) }),
    listSecrets: () => ({}),
    getSecret: async () => ({ params: { name: await secret() } }),
    deleteSecret: async () => ({ params: { name: await secret() } }),
    readSecrets: async () => json({ names: [await secret()] }),
    rotateDataKey: () => ({}),
    putConfig: () => ({ params: { name: 'settings' }, ...json({ data: { amount: 1 } }) }),
    listConfig: () => ({}),
    getConfig: async () => ({ params: { name: await config() } }),
    deleteConfig: async () => ({ params: { name: await config() } }),
    watchConfig: async () => ({ params: { name: await config() } }),
    putKvBucket: () => ({ params: { bucket: 'bucket' }, ...json({ history: 2 }) }),
    listKvBuckets: () => ({}),
    getKvBucket: async () => ({ params: { bucket: (await kvKey()).bucket } }),
    deleteKvBucket: async () => {
      await call('PUT', '/v1/kv/to-delete', {});
      return { params: { bucket: 'to-delete' } };
    },
    listKvKeys: async () => ({ params: { bucket: (await kvKey()).bucket } }),
    getKvKey: async () => ({ params: await kvKey() }),
    putKvKey: async () => ({ params: await kvKey(), ...json({ value: { amount: 1 } }) }),
    deleteKvKey: async () => ({ params: await kvKey() }),
    getKvHistory: async () => ({ params: await kvKey() }),
    watchKv: async () => ({ params: { bucket: (await kvKey()).bucket } }),
    listKeys: () => ({}),
    createKey: () => json({ name: 'fuzz', role: 'viewer', scopes: ['runs:read'] }),
    rotateKey: async () => within(await freshKey(), { overlapSeconds: 0 }),
    revokeKey: async () => within(await freshKey()),
    listSigningKeys: () => ({}),
    rotateSigningKey: () => json({ overlapSeconds: 0 }),
    createTenant: () => json({ project: `${ownProject}-${(made += 1)}`, environments: ['prod'] }),
    listTenants: () => ({ query: { limit: '5' } }),
    getTenant: async () => ({ params: { project: (await tenant()).project } }),
    archiveTenant: async () => ({ params: await tenant() }),
    restoreTenant: async () => ({ params: await tenant() }),
    deleteTenant: async () => ({ params: await tenant() }),
    listOperatorKeys: () => ({}),
    createOperatorKey: () => json({ name: 'fuzz' }),
    revokeOperatorKey: async () =>
      within(String((await manage('POST', '/v1/operator-keys', { name: 'fuzz' })).id)),
    getOpenapi: () => ({}),
  };
}
