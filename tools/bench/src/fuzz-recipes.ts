/** For each route of the platform a request that is right, and may be so only once. */
import { createHmac } from 'node:crypto';
import type { routes } from '@ironflow/schema';
import type { Client } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import type { FuzzRequest } from './fuzz-values.js';

export type Parts = Partial<Pick<FuzzRequest, 'params' | 'query' | 'headers' | 'body'>>;
export type Recipes = Record<keyof typeof routes, () => Parts | Promise<Parts>>;
/** Rejects for any answer but 2xx. */
export type Call = (method: string, path: string, body?: unknown) => Promise<Record<string, unknown>>;

/** An environment, as its admin and as an operator. */
export interface FuzzTenant {
  client: Client;
  call: Call;
  manage: Call;
  project: string;
}

const longAgo = '2020-01-01T00:00:00Z';
const webhookSecret = 'a secret that only this scene has';
/** There may be only so many of them. */
const sourcesMax = 10;

/** A route that has none is missing in the type. */
export function createRecipes(of: FuzzTenant): Recipes {
  const targets = { ...runTargets(of), ...settingTargets(of) };
  return {
    ...recipesOfRuns(of, targets),
    ...recipesOfFunctions(of, targets),
    ...recipesOfSettings(of, targets),
    ...recipesOfManagement(of, targets),
  };
}

type Targets = ReturnType<typeof runTargets> & ReturnType<typeof settingTargets>;

const json = (value: unknown): Parts => ({ body: { json: value } });
const within = (id: string, value?: unknown): Parts => ({
  params: { id },
  ...(value === undefined ? {} : json(value)),
});

function runTargets({ client, call }: FuzzTenant) {
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
  const schedule = async (): Promise<string> => {
    const { schedules } = (await call('GET', '/v1/schedules')) as { schedules: { id: string }[] };
    return schedules[0]!.id;
  };
  const opened = async (): Promise<Parts> => {
    await call('POST', '/v1/breakers/quick/open', {});
    return within('quick', {});
  };
  return { runOf, waiting, letter, link, later, schedule, opened };
}

function settingTargets({ call, manage, project: ownProject }: FuzzTenant) {
  let made = 0;
  const sources: string[] = [];
  const freshProject = (): string => `${ownProject}-${(made += 1)}`;
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
    const project = freshProject();
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
  return { webhookBody, webhook, delivery, freshKey, tenant, secret, config, kvKey, freshProject };
}

function recipesOfRuns(of: FuzzTenant, targets: Targets) {
  const { client } = of;
  const { runOf, waiting, letter, link } = targets;
  return {
    emitEvents: () => json({ name: 'fuzz.quick', data: { amount: 1 } }),
    invokeFunction: () => json({ function: 'quick', data: {} }),
    listRuns: () => ({ query: { limit: '5' } }),
    getRun: async () => within(await waiting()),
    listRunLogs: async () => ({ ...within(await waiting()), query: { level: 'info', limit: '5' } }),
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
  } satisfies Partial<Recipes>;
}

function recipesOfFunctions(_of: FuzzTenant, targets: Targets) {
  const { later, schedule, opened } = targets;
  return {
    listFunctions: () => ({}),
    getFunction: () => within('quick'),
    pauseFunction: () => within('yearly'),
    resumeFunction: () => within('quick'),
    setFunctionLimits: () => within('quick', { concurrency: 1_000 }),
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
  } satisfies Partial<Recipes>;
}

function recipesOfSettings(of: FuzzTenant, targets: Targets) {
  const { call } = of;
  const { webhookBody, webhook, delivery, tenant, secret, config } = targets;
  return {
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
    exportTable: () => ({ params: { table: 'runs' }, query: { limit: '5' } }),
    listAudit: () => ({ query: { limit: '5' } }),
    verifyAudit: () => ({}),
    getIdentity: () => ({}),
    getQuotas: () => ({}),
    setQuotas: async () => ({ params: await tenant(), ...json({ queuedRuns: 900_000 }) }),
    getRetention: () => ({}),
    setRetention: () => json({ days: 36_500 }),
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
  } satisfies Partial<Recipes>;
}

function recipesOfManagement(of: FuzzTenant, targets: Targets) {
  const { call, manage } = of;
  const { freshKey, tenant, kvKey, freshProject } = targets;
  return {
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
    createTenant: () => json({ project: freshProject(), environments: ['prod'] }),
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
  } satisfies Partial<Recipes>;
}
