import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createLogger } from '@ironflow/service';
import { createManualClock, eventually } from '@ironflow/testing';
import { createRegistryAnnouncer } from './registry-announcer.js';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 60_000);
afterAll(() => under.stop());

test('a reconnect during a pass is followed by another pass soon, and by no second one at once', async () => {
  const { environmentId } = under.acme.scope;
  await under.platform.prisma.environment.update({
    where: { id: environmentId },
    data: { registryVersion: 7 },
  });
  const bucket = under.jetstream.bucket('SYS_functions');
  const clock = createManualClock();
  let reconnect = (): void => undefined;
  let puts = 0;
  const announcer = createRegistryAnnouncer({
    jetstream: {
      connection: {
        ...under.jetstream.connection,
        onReconnect: (listener) => {
          reconnect = listener;
          return () => undefined;
        },
      },
      bucket: () => ({
        ...bucket,
        put: (key, value) => {
          puts += 1;
          return bucket.put(key, value);
        },
      }),
    },
    ...{ database: under.platform, clock, logger: createLogger({ service: 'test', level: 'silent' }) },
  });
  announcer.start();
  reconnect();
  expect(clock.pending).toBe(0);
  await eventually(() => expect(clock.pending).toBe(1));
  expect(puts).toBe(1);
  // NATS came back empty.
  await bucket.delete(environmentId);
  await clock.advance(1_000);
  await eventually(async () => expect((await bucket.get(environmentId))?.value).toBe('{"version":7}'));
  await eventually(() => expect(clock.pending).toBe(1));
  expect(puts).toBe(2);
  await announcer.stop();
});
