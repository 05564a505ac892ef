import { afterAll, expect, test } from '@jest/globals';
import {
  createEnvelope,
  createErasureStore,
  createIngestStore,
  createRetentionMonths,
  createRetentionRows,
  createSchedulerStore,
  createTenantAdmin,
  listRetention,
  recordDeliveries,
} from '@ironflow/database';
import { purgeEnvironment } from '@ironflow/jetstream';
import { createId, placesOfEnvironment, subjects } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import { createManualClock, eventually, stopSharedServers } from '@ironflow/testing';
import { createErasure } from './erasure.js';
import { createSchedulerMetrics } from './metrics.js';
import { createRetention } from './retention.js';
import { createWorld } from './testing/world.js';
import type { World } from './testing/world.js';
import { createUpkeep } from './upkeep.js';

afterAll(stopSharedServers);

const logger = createLogger({ service: 'test', level: 'silent' });

const erasureOf = ({ database, jetstream }: World) =>
  createErasure({
    store: createErasureStore(database),
    purge: (scope) => purgeEnvironment(jetstream.connection, scope),
    logger,
  });

const retentionOf = ({ database }: World, days?: number) =>
  createRetention({
    ...{ days, now: () => database.now(), environments: () => listRetention(database) },
    months: createRetentionMonths(database),
    rows: createRetentionRows(database),
    metrics: createSchedulerMetrics(createMetrics({ service: 'test' })),
    logger,
  });

test('a minute after the start, letters and deliveries of 30 days and keys of a day are gone, and others are left', async () => {
  const world = await createWorld();
  const clock = createManualClock();
  const upkeep = createUpkeep({
    store: createSchedulerStore(world.database),
    ensurePartitions: () => Promise.reject(new Error('busy')),
    retention: retentionOf(world),
    erasure: erasureOf(world),
    logger,
    clock,
  });
  try {
    const day = 86_400_000;
    const ages = world.scopes.flatMap(({ environmentId }) =>
      [29, 31].map((days) => ({ environmentId, days })),
    );
    const letters = ages.map(({ environmentId, days }, index) => ({
      ...{ id: createId(index, new Uint8Array(10)), environmentId, subject: 's', payload: '' },
      ...{ reason: 'unreadable' as const, detail: `${days}`, occurredAtMs: Date.now() - days * day },
    }));
    await createSchedulerStore(world.database).storeDeadLetters(letters);
    const { environmentId } = world.scopes[0];
    const event = {
      id: createId(Date.now(), new Uint8Array(10)),
      name: 'a',
      data: '1',
      source: 'http' as const,
    };
    await createIngestStore(world.database).storeEvents(environmentId, [{ ...event, idempotencyKey: 'k' }]);
    await world.database.prisma.webhookSource.create({
      data: { environmentId, id: 'hub', address: 'a', provider: 'github', eventPrefix: 'github' },
    });
    const deliveries = [29, 31].map((days) => createId(Date.now() - days * day, new Uint8Array(10)));
    await recordDeliveries(
      world.database,
      environmentId,
      deliveries.map((id) => ({ id, sourceId: 'hub', status: 'accepted' })),
    );
    const left = async (): Promise<{ letters: string[]; keys: number; deliveries: number }> => ({
      letters: (await world.database.prisma.deadLetter.findMany()).map(({ detail }) => detail),
      keys: await world.database.prisma.idempotencyKey.count(),
      deliveries: await world.database.prisma.webhookDelivery.count(),
    });
    upkeep.start();
    await clock.advance(59_000);
    expect(await left()).toEqual({ letters: ['29', '31', '29', '31'], keys: 1, deliveries: 2 });
    await world.database.prisma.idempotencyKey.updateMany({
      data: { createdAt: new Date(Date.now() - 2 * day) },
    });
    await clock.advance(1_000);
    await eventually(async () =>
      expect(await left()).toEqual({ letters: ['29', '29'], keys: 0, deliveries: 1 }),
    );
  } finally {
    await upkeep.stop();
    await world.stop();
  }
});

test('an environment whose grace has ended is erased from Postgres and from NATS, and its neighbour is not', async () => {
  const world = await createWorld();
  const clock = createManualClock();
  const upkeep = createUpkeep({
    store: createSchedulerStore(world.database),
    ensurePartitions: async () => undefined,
    retention: retentionOf(world),
    erasure: erasureOf(world),
    logger,
    clock,
  });
  const [ours, theirs] = world.scopes;
  const { publisher, connection } = world.jetstream;
  const leftOf = async (scope: Scope): Promise<number> => {
    let left = 0;
    for (const { stream, filter } of placesOfEnvironment(scope)) {
      const data = JSON.stringify({ subjects_filter: filter });
      const reply = await connection.request({ subject: `$JS.API.STREAM.INFO.${stream}`, data });
      if (reply.kind !== 'message') throw new Error(reply.kind);
      const { state } = JSON.parse(new TextDecoder().decode(reply.data)) as {
        state?: { subjects?: Record<string, number> };
      };
      left += Object.values(state?.subjects ?? {}).reduce((sum, count) => sum + count, 0);
    }
    return left;
  };
  try {
    for (const scope of world.scopes) {
      await world.publish(await world.store(scope, ['order.placed']));
      const runId = createId(Date.now(), new Uint8Array(10));
      const data = JSON.stringify({ scope, runId });
      await publisher.publish({ subject: subjects.cancellation(scope, runId), data });
      await world.jetstream.bucket('SYS_functions').put(scope.environmentId, '{"version":1}');
      await world.jetstream.bucket('SYS_debounce_state').put(`${scope.environmentId}.f.k`, '{}');
    }
    const before = await leftOf(theirs);
    expect([await leftOf(ours), before]).toEqual([4, 4]);
    const secrets = createEnvelope(Buffer.alloc(32).toString('base64'));
    await createTenantAdmin(world.database, secrets).delete(ours, 0);
    upkeep.start();
    await clock.advance(60_000);
    await clock.advance(3_600_000);
    expect(await leftOf(ours)).toBe(4);
    await world.database.prisma.environment.update({
      where: { id: ours.environmentId },
      data: { eraseAfter: new Date() },
    });
    await eventually(async () => {
      await clock.advance(3_600_000);
      const where = { id: ours.environmentId };
      const environment = await world.database.prisma.environment.findUniqueOrThrow({ where });
      expect(environment.erasedAt).not.toBeNull();
    });
    expect([await leftOf(ours), await leftOf(theirs)]).toEqual([0, before]);
    const eventsOf = ({ environmentId }: Scope) =>
      world.database.prisma.event.count({ where: { environmentId } });
    expect([await eventsOf(ours), await eventsOf(theirs)]).toEqual([0, 1]);
  } finally {
    await upkeep.stop();
    await world.stop();
  }
});
