/**
 * An environment that has one of everything, so that a neighbour has something to reach for. Nothing moves in it once it is made:
 * whatever changes afterwards, a neighbour has changed.
 */
import { createFunction, NonRetryableError } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import type { PlatformUnderTest, Tenant } from '../platform-under-test.js';

export interface Victim {
  tenant: Tenant;
  /** What the `{…}` of a path means below its first word: an id or name of this environment, and one that is nobody's. */
  places: Readonly<Record<string, { own: string; nobodys: string }>>;
  /** What no answer to anybody else may have in it. */
  marks: readonly string[];
  /** By table, everything of the environment that is stored. */
  snapshot(): Promise<Record<string, string>>;
}

const nobody = '0190a000-0000-7000-8000-00000000dead';
/** In names and payloads alike. */
export const mark = 'victims-own';

export async function createVictim(world: PlatformUnderTest): Promise<Victim> {
  const tenant = await world.createTenant(mark, 'prod');
  const waiting = createFunction(
    { id: `${mark}-waiting`, triggers: [{ event: `${mark}.asked` }] },
    async ({ step, logger }) => {
      logger.info(mark, { mark });
      await step.run('first', () => mark);
      return step.approve('second', { timeout: '30d' });
    },
  );
  const failing = createFunction({ id: `${mark}-failing`, triggers: [{ event: `${mark}.failed` }] }, () => {
    throw new NonRetryableError(mark);
  });
  const scheduled = createFunction(
    { id: `${mark}-scheduled`, triggers: [{ cron: '0 0 1 1 *' }] },
    () => mark,
  );
  const worker = await tenant.startWorker(mark, [waiting, failing, scheduled]);
  const { ids: asked } = await tenant.client.emit({ name: `${mark}.asked`, data: { mark } });
  const { ids: failed } = await tenant.client.emit({ name: `${mark}.failed`, data: { mark } });
  const [ended] = await tenant.endedRunsOf(failed[0]!);
  const run = await eventually(async () => {
    const [found] = (await tenant.client.runs.list({ event: asked[0]! })).runs;
    if (found?.status !== 'waiting') throw new Error(`the run is ${found?.status}`);
    return found;
  });
  await worker.stop();
  await untilLogged(tenant, run.id);
  const call = async (method: string, path: string, body?: unknown): Promise<Record<string, unknown>> => {
    const answer = await fetch(`${tenant.ironflowUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${tenant.apiKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const json = (await answer.json()) as Record<string, unknown>;
    if (!answer.ok)
      throw new Error(`${method} ${path} was answered ${answer.status}: ${JSON.stringify(json)}`);
    return json;
  };
  const later = await tenant.client.emit({
    ...{ name: `${mark}.later`, data: { mark }, at: new Date(Date.now() + 86_400_000).toISOString() },
  });
  await call('POST', `/v1/topics/${mark}.topic/messages`, { data: { mark } });
  await call('POST', '/v1/webhooks', { id: `${mark}-hook`, provider: 'github' });
  const credential = await addCredential(world, tenant.environmentId);
  await call('POST', `/v1/breakers/${mark}-waiting/open`, {});
  const key = await call('POST', '/v1/keys', { name: mark, role: 'viewer' });
  await call('PUT', '/v1/secrets/VICTIMS_OWN', { value: `${mark} value` });
  await call('PUT', `/v1/config/${mark}.config`, { data: { mark } });
  await call('PUT', `/v1/kv/${mark}-bucket`, {});
  await call('PUT', `/v1/kv/${mark}-bucket/keys/first`, { value: { mark } });
  const link = await call('POST', `/v1/runs/${run.id}/approval-links`, { name: 'second' });
  const { schedules } = (await call('GET', '/v1/schedules')) as { schedules: { id: string }[] };
  const letters = await deadLettersOf(tenant);
  const places = {
    runs: { own: run.id, nobodys: nobody },
    events: { own: asked[0]!, nobodys: nobody },
    'dead-letters': { own: letters[0]!.id, nobodys: nobody },
    functions: { own: waiting.id, nobodys: 'nobodys-function' },
    breakers: { own: waiting.id, nobodys: 'nobodys-function' },
    'scheduled-events': { own: later.ids[0]!, nobodys: nobody },
    schedules: { own: schedules[0]!.id, nobodys: 'nobodys-function.yearly' },
    webhooks: { own: `${mark}-hook`, nobodys: 'nobodys-hook' },
    credentials: { own: credential, nobodys: nobody },
    kv: { own: `${mark}-bucket`, nobodys: 'nobodys-bucket' },
    config: { own: `${mark}.config`, nobodys: 'nobodys.config' },
    secrets: { own: 'VICTIMS_OWN', nobodys: 'NOBODYS_OWN' },
    apps: { own: mark, nobodys: 'nobodys-app' },
    keys: { own: String(key.id), nobodys: nobody },
    topics: { own: `${mark}.topic`, nobodys: 'nobodys.topic' },
  };
  const token = String(link.path).split('/').at(-1)!;
  return {
    tenant,
    places,
    marks: [
      mark,
      tenant.environmentId,
      tenant.apiKey,
      tenant.signingKey,
      String(key.key),
      token,
      ended!.id,
      ...Object.values(places).map(({ own }) => own),
    ],
    snapshot: () => snapshotOf(world, tenant.environmentId),
  };
}

async function untilLogged({ client }: Tenant, runId: string): Promise<void> {
  await eventually(async () => {
    if ((await client.runs.logs(runId)).lines.length === 0) throw new Error('nothing is logged yet');
  });
}

async function deadLettersOf({ client }: Tenant): Promise<{ id: string }[]> {
  return eventually(async () => {
    const { deadLetters } = await client.deadLetters.list();
    if (deadLetters.length === 0) throw new Error('no dead letter is there');
    return deadLetters;
  });
}

/** As where NATS is in operator mode, which this platform's is not. */
async function addCredential(world: PlatformUnderTest, environmentId: string): Promise<string> {
  const [key] = await world.query<{ version: number }>(
    'select version from environment_data_keys where environment_id = $1',
    [environmentId],
  );
  await world.query(
    'insert into nats_accounts (environment_id, public_key, data_key_version, sealed) values ($1, $2, $3, $4)',
    [environmentId, `A${mark}`, key!.version, Buffer.alloc(0)],
  );
  const [row] = await world.query<{ id: string }>(
    `insert into nats_credentials (id, environment_id, name, public_key, expires_at)
     values (gen_random_uuid(), $1, $2, $3, now() + interval '1 day') returning id`,
    [environmentId, mark, `U${mark}`],
  );
  return row!.id;
}

/**
 * A digest of the rows of every table that has an environment, but what the platform measures of it by itself; when keys were used last is
 * written a while later.
 */
async function snapshotOf(world: PlatformUnderTest, environmentId: string): Promise<Record<string, string>> {
  const tables = await world.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
     where a.attname = 'environment_id' and c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = 'public'::regnamespace
       and c.relname <> 'environment_use'
     order by 1`,
  );
  const digests: Record<string, string> = {};
  for (const { name } of tables) {
    const [row] = await world.query<{ count: string; digest: string }>(
      `select count(*), md5(coalesce(string_agg(r, ',' order by r), '')) as digest from "${name}" t,
        lateral (select case '${name}' when 'api_keys' then (to_jsonb(t) - 'last_used_at')::text else t::text end as r) shown
        where environment_id = $1`,
      [environmentId],
    );
    digests[name] = `${row!.count} rows, ${row!.digest}`;
  }
  return digests;
}
