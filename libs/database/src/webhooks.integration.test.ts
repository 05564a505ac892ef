import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { limits } from '@ironflow/schema';
import type { CreateWebhookBody, WebhookProviderId } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createEnvelope,
  createSchedulerStore,
  createWebhookStore,
  findWebhookSources,
  recordDeliveries,
} from './index.js';
import type { NewDelivery, WebhookStore } from './index.js';

let platform: Platform;
let store: WebhookStore;
let ours: string;
let theirs: string;
let made = 0;

beforeAll(async () => {
  platform = await createPlatform();
  store = createWebhookStore(platform.tenant, platform.secrets);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

function source(changes: Partial<CreateWebhookBody> = {}): CreateWebhookBody {
  return { id: `source-${(made += 1)}`, provider: 'github', headers: [], ...changes };
}

const addressOf = ({ path }: { path: string }): string => path.split('/').at(-1)!;

async function find(created: { path: string }) {
  const [found] = await findWebhookSources(platform.tenant, platform.secrets, [addressOf(created)]);
  return found;
}

describe('a source', () => {
  test('is found by its address, with whose it is and what it is checked by', async () => {
    const created = await store.create(ours, source({ id: 'hub' }));
    const found = await find(created);
    expect(found).toMatchObject({
      scope: platform.ours.scope,
      id: 'hub',
      eventPrefix: 'github',
      status: 'active',
    });
    expect(found!.keys().map(String)).toEqual([created.secret]);
  });

  test('is found among others, in the order of the addresses', async () => {
    const [a, b] = [await store.create(ours, source()), await store.create(theirs, source())];
    const addresses = [addressOf(b), 'nonsense', addressOf(a), addressOf(b), `ifw_${'0'.repeat(49)}`];
    const found = await findWebhookSources(platform.tenant, platform.secrets, addresses);
    expect(found.map((one) => one?.id)).toEqual([b.id, undefined, a.id, b.id, undefined]);
    expect(found.map((one) => one?.scope.environmentId)).toEqual([
      theirs,
      undefined,
      ours,
      theirs,
      undefined,
    ]);
  });

  test.each<[WebhookProviderId, string]>([
    ['github', 'github'],
    ['stripe', 'stripe'],
    ['standard-webhooks', 'mine'],
  ])('of %s has events that begin with %s', async (provider, prefix) => {
    expect(await store.create(theirs, source({ provider, id: 'mine' }))).toMatchObject({
      eventPrefix: prefix,
    });
    await store.delete(theirs, 'mine');
  });

  test('of an id that is taken is refused, also when both come at once', async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 5 }, () => store.create(ours, source({ id: 'one' }))),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'webhook_exists' });
    }
    expect((await store.get(ours, 'one'))!.secrets).toHaveLength(1);
    expect(await store.create(theirs, source({ id: 'one' }))).toMatchObject({ id: 'one' });
  });

  test('of a neighbour can neither be seen nor changed', async () => {
    const created = await store.create(theirs, source());
    const { id } = created;
    expect(await store.get(ours, id)).toBeUndefined();
    expect(await store.setStatus(ours, id, 'paused')).toBeUndefined();
    expect(await store.rotate(ours, id, { graceSeconds: 0 })).toBeUndefined();
    expect(await store.delete(ours, id)).toBe(false);
    expect(await store.listDeliveries(ours, id, { limit: 10 })).toBeUndefined();
    expect((await store.list(ours)).map((one) => one.path)).not.toContain(created.path);
    expect(await store.get(theirs, id)).toMatchObject({ status: 'active', secrets: created.secrets });
  });

  test('more than an environment may have is refused', async () => {
    const environment = (await platform.service.prisma.environment.findMany({ where: { id: theirs } }))[0]!;
    const count = limits.webhookSourcesMax - (await store.list(theirs)).length;
    await platform.service.prisma.webhookSource.createMany({
      data: Array.from({ length: count }, (_, index) => ({
        ...{ environmentId: environment.id, id: `filler-${index}`, address: `filler-${index}` },
        ...{ provider: 'github', eventPrefix: 'a' },
      })),
    });
    await expect(store.create(theirs, source())).rejects.toMatchObject({ code: 'too_many_webhooks' });
    await platform.service.prisma.webhookSource.deleteMany({ where: { id: { startsWith: 'filler-' } } });
  });
});

describe('a secret', () => {
  const secretsOf = async (created: { path: string }) => (await find(created))!.keys().map(String);

  test('is stored sealed, for its own row alone, and no login of a tenant reads it', async () => {
    const given = 'a secret of a provider';
    const created = await store.create(ours, source({ secret: given }));
    expect(created.secret).toBeUndefined();
    const rows = await platform.service.prisma.webhookSecret.findMany({ where: { sourceId: created.id } });
    expect(rows).toHaveLength(1);
    expect(Buffer.from(rows[0]!.sealed).toString('latin1')).not.toContain(given);
    await expect(
      platform.tenant.inEnvironment(ours, (transaction) =>
        transaction.query({ name: '', text: 'select sealed from webhook_secrets' }, []),
      ),
    ).rejects.toMatchObject({ code: '42501' });
    // Moved to another row, or under another master key, it does not open.
    const other = await store.create(ours, source());
    await platform.service.prisma.webhookSecret.updateMany({
      where: { sourceId: other.id },
      data: { sealed: rows[0]!.sealed },
    });
    const moved = (await find(other))!;
    expect(() => moved.keys()).toThrow(expect.objectContaining({ code: 'secret_unreadable' }));
    const stranger = createEnvelope(Buffer.alloc(32, 1).toString('base64'));
    const [found] = await findWebhookSources(platform.tenant, stranger, [addressOf(created)]);
    expect(() => found!.keys()).toThrow(expect.objectContaining({ code: 'secret_unreadable' }));
  });

  test('that is not written as its provider writes it is refused, and nothing is created', async () => {
    const bad = source({ provider: 'standard-webhooks', secret: 'whsec_%%%%%%%%' });
    await expect(store.create(ours, bad)).rejects.toMatchObject({
      code: 'webhook_secret_invalid',
      field: 'secret',
    });
    expect(await store.get(ours, bad.id)).toBeUndefined();
  });

  test('that was replaced is good for its grace, which a further rotation does not lengthen', async () => {
    const created = await store.create(ours, source());
    const { id } = created;
    const second = await store.rotate(ours, id, { graceSeconds: 3_600 });
    const third = await store.rotate(ours, id, { graceSeconds: 7_200 });
    expect((await secretsOf(created)).sort()).toEqual([created.secret, second!.secret, third!.secret].sort());
    const [newest, ...others] = third!.secrets;
    expect(newest!.expiresAt).toBeUndefined();
    const graces = others.map(({ expiresAt }) => (Date.parse(expiresAt!) - Date.now()) / 3_600_000);
    expect(graces.map(Math.ceil)).toEqual([2, 1]);
    await platform.admin.query(
      `update webhook_secrets set expires_at = now() - interval '1 s' where source_id = $1 and expires_at is not null`,
      [id],
    );
    expect(await secretsOf(created)).toEqual([third!.secret]);
    expect((await store.get(ours, id))!.secrets).toHaveLength(1);
    const last = await store.rotate(ours, id, { graceSeconds: 0 });
    expect(await secretsOf(created)).toEqual([last!.secret]);
    expect(await platform.service.prisma.webhookSecret.count({ where: { sourceId: id } })).toBe(1);
  });

  test('is one of a bounded number, and of rotations at once none is lost', async () => {
    const created = await store.create(ours, source());
    const rotations = Array.from({ length: limits.webhookSecretsMax + 3 }, () =>
      store.rotate(ours, created.id, { graceSeconds: 3_600 }),
    );
    const rotated = await Promise.all(rotations);
    const live = await secretsOf(created);
    expect(live).toHaveLength(limits.webhookSecretsMax);
    for (const secret of live) expect(rotated.map((one) => one!.secret)).toContain(secret);
    const { secrets } = (await store.get(ours, created.id))!;
    expect(secrets.filter(({ expiresAt }) => expiresAt === undefined)).toHaveLength(1);
  });
});

describe('the log', () => {
  const delivery = (sourceId: string, changes: Partial<NewDelivery> = {}): NewDelivery => ({
    ...{ id: freshId(), sourceId, status: 'accepted' },
    ...changes,
  });
  const refused = (sourceId: string): NewDelivery =>
    delivery(sourceId, { status: 'refused', reason: 'signature_invalid' });

  test('is read in pages, the newest first, and by status', async () => {
    const { id } = await store.create(ours, source());
    const deliveries = [refused(id), delivery(id), delivery(id, { status: 'duplicate' })].map(
      (one, index) => ({
        ...one,
        id: freshId(1_900_000_000_000 + index),
      }),
    );
    await recordDeliveries(platform.tenant, ours, deliveries);
    const first = await store.listDeliveries(ours, id, { limit: 2 });
    expect(first!.deliveries.map(({ status }) => status)).toEqual(['duplicate', 'accepted']);
    const rest = await store.listDeliveries(ours, id, { limit: 2, cursor: first!.nextCursor });
    expect(rest).toMatchObject({ deliveries: [{ status: 'refused', reason: 'signature_invalid' }] });
    expect(rest!.nextCursor).toBeUndefined();
    const some = await store.listDeliveries(ours, id, { limit: 2, status: 'refused' });
    expect(some!.deliveries.map((one) => one.id)).toEqual([deliveries[0]!.id]);
  });

  test('takes so many refusals a minute of each source, and counts all of them', () =>
    withinOneMinute(async () => {
      const [flooded, quiet] = [await store.create(ours, source()), await store.create(ours, source())];
      await platform.admin.query(
        `update webhook_sources set refused_minute = date_trunc('minute', now()), refused_in_minute = $2 where id = $1`,
        [flooded.id, limits.webhookRefusalsPerMinuteMax - 3],
      );
      await recordDeliveries(platform.tenant, ours, [
        ...Array.from({ length: 5 }, () => refused(flooded.id)),
        delivery(flooded.id),
        refused(quiet.id),
        delivery('a source that is gone'),
      ]);
      await recordDeliveries(platform.tenant, ours, [refused(flooded.id)]);
      const counted = await store.get(ours, flooded.id);
      const others = await store.get(ours, quiet.id);
      const logged = (await store.listDeliveries(ours, flooded.id, { limit: 100 }))!.deliveries;
      await platform.admin.query(
        `update webhook_sources set refused_minute = refused_minute - interval '1 minute' where id = $1`,
        [flooded.id],
      );
      await recordDeliveries(platform.tenant, ours, [refused(flooded.id)]);
      const later = await store.get(ours, flooded.id);
      return () => {
        expect(counted).toMatchObject({ refused: 6, refusedUnlogged: 3 });
        expect(others).toMatchObject({ refused: 1, refusedUnlogged: 0 });
        expect(logged.map(({ status }) => status).sort()).toEqual([
          'accepted',
          'refused',
          'refused',
          'refused',
        ]);
        expect(later).toMatchObject({ refused: 7, refusedUnlogged: 3 });
      };
    }));

  test('is written for the environment that is named, whoever has a source of that id', async () => {
    const { id } = await store.create(theirs, source());
    await recordDeliveries(platform.tenant, ours, [delivery(id), refused(id)]);
    expect((await store.listDeliveries(theirs, id, { limit: 10 }))!.deliveries).toEqual([]);
    expect(await store.get(theirs, id)).toMatchObject({ refused: 0 });
  });

  test('does not wait in a circle when batches of the same sources come at once', async () => {
    const sources = [await store.create(ours, source()), await store.create(ours, source())];
    const batches = Array.from({ length: 20 }, (_, index) => {
      const ids = sources.map(({ id }) => id);
      return (index % 2 === 0 ? ids : ids.reverse()).map(refused);
    });
    await Promise.all(batches.map((batch) => recordDeliveries(platform.tenant, ours, batch)));
    for (const { id } of sources) expect(await store.get(ours, id)).toMatchObject({ refused: 20 });
  });

  test('keeps 30 days, and the newest of each source', async () => {
    const [old, busy] = [await store.create(ours, source()), await store.create(ours, source())];
    const day = 86_400_000;
    const aged = [29, 31].map((days) => delivery(old.id, { id: freshId(Date.now() - days * day) }));
    await recordDeliveries(platform.tenant, ours, aged);
    const kept = limits.webhookDeliveriesKept;
    await platform.admin.query(
      `insert into webhook_deliveries (id, environment_id, source_id, status)
        select ('ffff' || substr(gen_random_uuid()::text, 5))::uuid, $1, $2, 'accepted' from generate_series(1, $3::int)`,
      [ours, busy.id, kept + 7],
    );
    const upkeep = createSchedulerStore(platform.service);
    while ((await upkeep.removeOldDeliveries(5)) > 0);
    const left = (await store.listDeliveries(ours, old.id, { limit: 10 }))!.deliveries;
    expect(left.map(({ id }) => id)).toEqual([aged[0]!.id]);
    expect(await platform.service.prisma.webhookDelivery.count({ where: { sourceId: busy.id } })).toBe(kept);
  });

  test('and the secrets go with their source', async () => {
    const { id } = await store.create(ours, source());
    await recordDeliveries(platform.tenant, ours, [delivery(id)]);
    expect(await store.delete(ours, id)).toBe(true);
    expect(await store.delete(ours, id)).toBe(false);
    expect(await platform.service.prisma.webhookDelivery.count({ where: { sourceId: id } })).toBe(0);
    expect(await platform.service.prisma.webhookSecret.count({ where: { sourceId: id } })).toBe(0);
  });
});

/** Does the work once more if a minute of the database's clock, which is what decides, began meanwhile. */
async function withinOneMinute(work: () => Promise<() => void>): Promise<void> {
  for (;;) {
    const before = await minuteOf(platform);
    const check = await work();
    if ((await minuteOf(platform)) === before) return check();
  }
}

async function minuteOf({ admin }: Platform): Promise<string> {
  const { rows } = await admin.query<{ minute: string }>(
    `select date_trunc('minute', now())::text as minute`,
  );
  return rows[0]!.minute;
}
