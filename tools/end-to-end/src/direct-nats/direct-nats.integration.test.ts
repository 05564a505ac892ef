/** Tenants with credentials for NATS, on a whole platform in operator mode that begins with what `ironflow nats init` makes. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { jetstream } from '@nats-io/jetstream';
import { connect, credsAuthenticator, headers } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import { connectJetStream } from '@ironflow/jetstream';
import { initNats } from '@ironflow/nats-accounts';
import { headerNames, subjects } from '@ironflow/schema';
import { createFunction, createOperatorClient, IronflowApiError } from '@ironflow/sdk';
import { createScratch, eventually, startNatsServer } from '@ironflow/testing';
import { startPlatformUnderTest } from '../platform-under-test.js';
import type { PlatformUnderTest, Tenant } from '../platform-under-test.js';
import { attacker, attackersActivation, attackersConsumer, forgeries, victim } from './forgeries.js';
import type { Arena } from './forgeries.js';

const undo: (() => unknown)[] = [];
let world: PlatformUnderTest;
let acme: Tenant;
let globex: Tenant;

beforeAll(async () => {
  const scratch = await createScratch('operator');
  undo.push(() => scratch.remove());
  const folder = join(scratch.path, 'nats');
  await initNats({ folder, name: 'test', accountsFolder: './accounts' });
  world = await startPlatformUnderTest({ IRONFLOW_NATS_OPERATOR: folder });
  undo.push(() => world.stop());
  acme = await world.createTenant(attacker.project, attacker.env);
  globex = await world.createTenant(victim.project, victim.env);
}, 120_000);
afterAll(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
}, 30_000);

async function open(credentials: string, isLasting = false): Promise<NatsConnection> {
  const authenticator = credsAuthenticator(Buffer.from(credentials));
  const { natsUrl: servers } = world.platform.servers;
  const lasting = { maxReconnectAttempts: -1, reconnectTimeWait: 200, ignoreAuthErrorAbort: true };
  const connection = await connect({
    servers,
    authenticator,
    ...(isLasting ? lasting : { reconnect: false }),
  });
  undo.push(() => connection.close());
  return connection;
}

async function openTenant(tenant: Tenant, isLasting = false): Promise<NatsConnection> {
  return open((await tenant.client.credentials.create({ name: 'test' })).credentials, isLasting);
}

async function eventsOf({ environmentId }: Tenant): Promise<string[]> {
  const rows = await world.query<{ name: string }>('select name from events where environment_id = $1', [
    environmentId,
  ]);
  return rows.map(({ name }) => name);
}

/** Of whomever. */
async function deadLetters(): Promise<string[]> {
  const rows = await world.query<{ subject: string }>('select subject from dead_letters');
  return rows.map(({ subject }) => subject);
}

/** The same servers and streams, where tenants have users of the platform's own account with permissions for their subjects. */
async function startSharedAccount(): Promise<Arena> {
  const scratch = await createScratch('shared-account');
  undo.push(() => scratch.remove());
  const userOf = (place: typeof attacker) => ({
    ...{ user: place.project, password: 'secret' },
    permissions: {
      publish: {
        allow: [
          ...[`ironflow.${place.project}.${place.env}.ingest.>`, `$JS.ACK.STEPS.${attackersConsumer}.>`],
          `$JS.API.CONSUMER.MSG.NEXT.STEPS.${attackersConsumer}`,
        ],
      },
      subscribe: { allow: ['_INBOX.>'] },
    },
  });
  const users = [{ user: 'platform', password: 'secret' }, userOf(attacker), userOf(victim)];
  const server = await startNatsServer({ storeDir: scratch.path, authorization: { users } });
  undo.push(() => server.stop());
  const { url } = server;
  const platform = await connectJetStream({
    url,
    user: 'platform',
    password: 'secret',
    name: 'platform',
    replicas: 1,
  });
  undo.push(() => platform.close());
  const ask = async (subject: string, body: unknown): Promise<unknown> => {
    const answer = await platform.connection.nats.request(subject, JSON.stringify(body));
    expect(answer.json()).not.toHaveProperty('error');
    return answer.json();
  };
  await ask(`$JS.API.CONSUMER.DURABLE.CREATE.STEPS.${attackersConsumer}`, {
    stream_name: 'STEPS',
    config: {
      ...{ durable_name: attackersConsumer, ack_policy: 'explicit' },
      filter_subject: attackersActivation,
    },
  });
  await ask(attackersActivation, { evil: true });
  const [attacking, attacked] = await Promise.all(
    [attacker, victim].map(({ project: user }) => connect({ servers: url, user, pass: 'secret' })),
  );
  undo.push(() => Promise.all([attacking!.close(), attacked!.close()]));
  return {
    attacker: attacking!,
    victim: attacked!,
    landed: async () => {
      const info = (await ask('$JS.API.STREAM.INFO.INGEST', { subjects_filter: '>' })) as {
        state: { subjects?: Record<string, number> };
      };
      return Object.keys(info.state.subjects ?? {});
    },
  };
}

describe('what is forged', () => {
  test('harms a neighbour where permissions within one account are all that is between them', async () => {
    const arena = await startSharedAccount();
    const outcomes: [string, boolean][] = [];
    for (const { what, attempt } of forgeries) outcomes.push([what, await attempt(arena)]);
    expect(outcomes).toEqual(forgeries.map(({ what }) => [what, true]));
  }, 30_000);

  test('harms nobody where each environment has an account of its own', async () => {
    const arena = {
      attacker: await openTenant(acme),
      victim: await openTenant(globex),
      landed: async () => [
        ...(await eventsOf(globex)).map((name) => subjects.ingest(victim, name)),
        ...(await deadLetters()),
      ],
    };
    const outcomes: [string, boolean][] = [];
    for (const { what, attempt } of forgeries) outcomes.push([what, await attempt(arena)]);
    expect(outcomes).toEqual(forgeries.map(({ what }) => [what, false]));
    expect((await eventsOf(globex)).sort()).toEqual(['order.placed', 'overheard']);
    expect(await deadLetters()).toEqual([]);
  }, 30_000);

  test('of the platform’s own subjects, none is heard or reached', async () => {
    const tenant = await openTenant(acme);
    const refused: string[] = [];
    void (async () => {
      for await (const status of tenant.status())
        if (status.type === 'error') refused.push(status.error.message);
    })();
    const heard: string[] = [];
    const listened = ['>', 'ironflow.>', 'direct.>', 'public.>', '$JS.>', '$KV.>', '$SYS.>'];
    for (const subject of listened) {
      const callback = (error: Error | null): void => void (error ?? heard.push(subject));
      tenant.subscribe(subject, { callback });
    }
    const asked = [
      ...[
        '$JS.API.INFO',
        '$JS.API.STREAM.NAMES',
        '$JS.API.STREAM.PURGE.INGEST',
        '$SRV.PING',
        '$SYS.REQ.SERVER.PING',
      ],
      ...['system.executors.present', 'public.globex.prod.topic.x', subjects.directIngest(victim, 'x')],
    ];
    for (const subject of asked) tenant.publish(subject, '{}');
    await tenant.flush();
    await globex.client.emit({ name: 'unheard', data: 1 });
    await eventually(() => expect(refused).toHaveLength(listened.length + asked.length));
    expect(heard).toEqual([]);
  }, 30_000);
});

test('an event that is published with credentials of an environment starts its runs, and is acknowledged as by JetStream', async () => {
  const double = createFunction({ id: 'double', triggers: [{ event: 'asked' }] }, ({ event }) =>
    Promise.resolve(2 * (event.data as { of: number }).of),
  );
  await acme.startWorker('direct', [double]);
  const tenant = await openTenant(acme);
  const subject = subjects.ingest(attacker, 'asked');
  const ack = await jetstream(tenant).publish(subject, '{"of":21}', { msgID: 'ask-1' });
  expect(ack).toMatchObject({ stream: 'INGEST', duplicate: false });
  expect(ack.seq).toBeGreaterThan(0);
  // Its id is a key of the environment's own: again, it is the same event.
  await jetstream(tenant).publish(subject, '{"of":21}', { msgID: 'ask-1' });
  const events = await eventually(async () => {
    const found = (await acme.client.events.list({ name: 'asked' })).events;
    expect(found).toHaveLength(1);
    return found;
  });
  const [run] = await acme.endedRunsOf(events[0]!.id);
  expect(run).toMatchObject({ status: 'completed', output: 42 });
}, 30_000);

test('an event of the platform’s is not a tenant’s to emit, and headers for JetStream are not passed on', async () => {
  const tenant = await openTenant(acme);
  const reserved = await tenant.request(subjects.ingest(attacker, 'ironflow.cron.report'), '{}');
  expect(reserved.json()).toMatchObject({ error: { code: 400, description: /platform's/ } });
  const rollup = headers();
  rollup.set('Nats-Expected-Stream', 'DLQ');
  rollup.set('Nats-Rollup', 'all');
  rollup.set(headerNames.correlationId, 'kept');
  const answer = await tenant.request(subjects.ingest(attacker, 'with.headers'), '1', {
    ...{ headers: rollup, timeout: 2_000 },
  });
  expect(answer.json()).toMatchObject({ stream: 'INGEST' });
  await eventually(async () => {
    const { events } = await acme.client.events.list({ name: 'with.headers' });
    expect(events).toMatchObject([{ correlationId: 'kept' }]);
  });
}, 30_000);

test('revoked credentials are cut off within a second and let in no more; others stay', async () => {
  const other = await openTenant(acme);
  const { id, credentials } = await acme.client.credentials.create({ name: 'lost laptop' });
  const tenant = await open(credentials);
  await expect(globex.client.credentials.revoke(id)).rejects.toThrow(IronflowApiError);
  expect(tenant.isClosed()).toBe(false);
  const closed = tenant.closed().then(() => performance.now());
  expect(await acme.client.credentials.revoke(id)).toMatchObject({ id, status: 'revoked' });
  const revokedAtMs = performance.now();
  expect((await closed) - revokedAtMs).toBeLessThan(1_000);
  await expect(open(credentials)).rejects.toThrow(/authorization/i);
  await other.request(subjects.ingest(attacker, 'still.here'), '1');
  expect(await acme.client.credentials.list()).toContainEqual(
    expect.objectContaining({ id, status: 'revoked' }),
  );
  expect(JSON.stringify(await acme.client.credentials.list())).not.toMatch(/SU[A-Z2-7]{56}/);
  expect(world.logs()).not.toMatch(/SU[A-Z2-7]{56}|SA[A-Z2-7]{56}|eyJ0eXAiOiJKV1Qi/);
}, 30_000);

test('an archive cuts credentials off, and a restoration lets them in again', async () => {
  const place = { project: 'archived-with-nats', env: 'prod' };
  const tenant = await world.createTenant(place.project, place.env);
  const { credentials } = await tenant.client.credentials.create({ name: 'test' });
  const connection = await open(credentials);
  const operator = createOperatorClient({
    ironflowUrl: world.platform.url,
    operatorKey: world.platform.operatorKey,
  });
  await operator.tenants.archive(place);
  await connection.closed();
  await expect(open(credentials)).rejects.toThrow(/authorization/i);
  await operator.tenants.restore(place);
  await eventually(async () => {
    const again = await open(credentials);
    const subject = subjects.ingest(place, 'restored');
    await jetstream(again).publish(subject, '1', { msgID: 'once' });
  });
  await eventually(async () => expect(await eventsOf(tenant)).toEqual(['restored']));
});

test('after NATS was wiped its servers know accounts, and what they revoke, again', async () => {
  const kept = await openTenant(acme, true);
  const revoked = await acme.client.credentials.create({ name: 'revoked before' });
  await acme.client.credentials.revoke(revoked.id);
  await world.platform.servers.nats!.restart({ wipe: true });
  await eventually(
    async () => {
      const answer = await kept.request(subjects.ingest(attacker, 'after.wipe'), '1', { timeout: 1_000 });
      expect(answer.json()).toMatchObject({ stream: 'INGEST' });
      expect(answer.json()).not.toHaveProperty('error');
    },
    { timeoutMs: 20_000, intervalMs: 200 },
  );
  await eventually(async () => expect(await eventsOf(acme)).toContain('after.wipe'));
  await expect(open(revoked.credentials)).rejects.toThrow(/authorization/i);
}, 60_000);
