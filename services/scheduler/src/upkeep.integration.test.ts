import { afterAll, expect, test } from '@jest/globals';
import { createIngestStore, createSchedulerStore, recordDeliveries } from '@ironflow/database';
import { createId } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import { createManualClock, eventually, stopSharedServers } from '@ironflow/testing';
import { createWorld } from './testing/world.js';
import { createUpkeep } from './upkeep.js';

afterAll(stopSharedServers);

test('a minute after the start, letters and deliveries of 30 days and keys of a day are gone, and others are left', async () => {
  const world = await createWorld();
  const clock = createManualClock();
  const upkeep = createUpkeep({
    store: createSchedulerStore(world.database),
    ensurePartitions: () => Promise.reject(new Error('busy')),
    logger: createLogger({ service: 'test', level: 'silent' }),
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
