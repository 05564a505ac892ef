/** The settings of an environment, read and changed over the API. */
import { quotaNames } from '@ironflow/schema';
import type { FunctionSettings, SetQuotasBody, WebhookSettings } from '@ironflow/schema';
import type { Client, CreatedWebhook, OperatorClient, Schedule, WebhookSource } from '@ironflow/sdk';
import type { Change, ChangingSection, CurrentSettings } from './plan.js';

export interface ReadSettings {
  settings: CurrentSettings;
  /** Of config documents, by name: what has changed since is not overwritten. */
  revisions: ReadonlyMap<string, number>;
}

export async function readSettings(client: Client): Promise<ReadSettings> {
  const [documents, buckets, webhooks, functions, schedules, secrets, quotas, retention] = await Promise.all([
    readDocuments(client),
    client.kvBuckets(),
    client.webhooks.list(),
    client.functions.list(),
    readSchedules(client),
    client.secrets.list(),
    client.quotas.get(),
    client.retention.get(),
  ]);
  const active = functions.filter(({ status }) => status === 'active');
  const set = quotaNames.filter((name) => !quotas[name].isDefault);
  return {
    settings: {
      version: 1,
      config: Object.fromEntries(
        documents.map(({ name, data }) => [name, data]),
      ) as CurrentSettings['config'],
      kv: Object.fromEntries(
        buckets.map(({ name, ttlSeconds, history, maxBytes }) => [
          name,
          { ...(ttlSeconds === undefined ? {} : { ttlSeconds }), history, maxBytes },
        ]),
      ),
      webhooks: Object.fromEntries(webhooks.map((webhook) => [webhook.id, settingsOf(webhook)])),
      functions: Object.fromEntries(
        active.map(({ id, pausedAt, concurrencyLimit: concurrency }) => [
          id,
          { paused: pausedAt !== undefined, ...(concurrency === undefined ? {} : { concurrency }) },
        ]),
      ),
      schedules: Object.fromEntries(schedules.map(({ id, status }) => [id, { paused: status === 'paused' }])),
      secrets: secrets.map(({ name }) => name),
      quotas: Object.fromEntries(set.map((name) => [name, quotas[name].limit])),
      retention: retention.days === null ? {} : retention,
    },
    revisions: new Map(documents.map(({ name, revision }) => [name, revision])),
  };
}

async function readDocuments(client: Client) {
  const documents = [];
  for (const { name } of await client.config.list()) documents.push(await client.config.get(name));
  return documents;
}

async function readSchedules(client: Client): Promise<Schedule[]> {
  const schedules: Schedule[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.schedules.list({ limit: 200, ...(cursor === undefined ? {} : { cursor }) });
    schedules.push(...page.schedules);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return schedules;
}

function settingsOf({ provider, scheme, eventPrefix, headers, status }: WebhookSource): WebhookSettings {
  const own = provider === 'custom' ? { scheme } : {};
  return { provider, ...own, eventPrefix, headers, paused: status === 'paused' };
}

export interface Target {
  client: Client;
  revisions: ReadonlyMap<string, number>;
  /** For quotas alone. */
  operator: () => OperatorClient;
  /** Its secret is not shown again, whatever fails behind it. */
  onWebhook: (made: CreatedWebhook) => void;
}

export async function applyChange(target: Target, change: Change): Promise<void> {
  await appliers[change.section](target, change);
}

type Apply = (target: Target, change: Change) => Promise<unknown>;

const appliers: Record<ChangingSection, Apply> = {
  config: ({ client, revisions }, { name, kind, after }) => {
    const revision = revisions.get(name) ?? 0;
    return kind === 'delete'
      ? client.config.delete(name, { revision })
      : client.config.set(name, after, { revision });
  },
  kv: ({ client }, { name, kind, after }) => {
    if (kind === 'delete') return client.kv(name).deleteBucket();
    const { ttlSeconds, history, maxBytes } = after as CurrentSettings['kv'][string];
    const ttl = ttlSeconds === undefined ? {} : { ttl: `${ttlSeconds}s` as const };
    return client.kv(name).create({ ...ttl, history, maxBytes });
  },
  webhooks: async ({ client, onWebhook }, { name, kind, after }) => {
    if (kind === 'delete') return client.webhooks.delete(name);
    const { paused, ...webhook } = after as WebhookSettings;
    if (kind === 'create') onWebhook(await client.webhooks.create({ id: name, ...webhook }));
    if (paused || kind === 'update') await client.webhooks[pauseOf(after)](name);
  },
  functions: async ({ client: { functions } }, { name, before, after }) => {
    const [was, is] = [before as FunctionSettings, after as FunctionSettings];
    if (was.concurrency !== is.concurrency) {
      await functions.setLimits(name, { concurrency: is.concurrency ?? null });
    }
    if (was.paused !== is.paused) await functions[pauseOf(is)](name);
  },
  schedules: ({ client }, { name, after }) => client.schedules[pauseOf(after)](name),
  quotas: async ({ client, operator }, { name, after = null }) => {
    const { project, env } = await client.environment.get();
    const quotas = { [name]: after } as SetQuotasBody;
    return operator().tenants.setQuotas({ project, env }, quotas);
  },
  retention: ({ client }, { after = null }) => client.retention.set(after as number | null),
};

function pauseOf(after: unknown): 'pause' | 'resume' {
  return (after as { paused: boolean }).paused ? 'pause' : 'resume';
}
