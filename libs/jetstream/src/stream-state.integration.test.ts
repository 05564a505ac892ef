import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pullConsumer, subjects } from '@ironflow/schema';
import { sharedNats, stopSharedServers } from '@ironflow/testing';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const scope = {
  project: 'acme',
  env: 'prod',
  environmentId: '01890000-0000-7000-8000-000000000000',
};
let jetstream: JetStream;

beforeAll(async () => {
  jetstream = await connectJetStream({ url: (await sharedNats()).url, name: 'test', replicas: 1 });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

test('consumers of a stream are told with what waits for each, also when they are more than one page', async () => {
  const apps = Array.from({ length: 300 }, (_, index) => `app-${index}`);
  const lanes = apps.map((appId) =>
    pullConsumer({
      environmentId: scope.environmentId,
      lane: { appId },
      filterSubject: subjects.pullActivationsOf(scope, { appId }),
    }),
  );
  for (const lane of lanes) await jetstream.provisioner.ensureConsumer(lane);
  const run = { mode: 'pull' as const, appId: apps[299]!, functionId: 'f', runId: 'r' };
  await jetstream.publisher.publish({ subject: subjects.activation(scope, run), data: '{}' });

  const found = new Map((await jetstream.states.consumersOf('STEPS')).map((one) => [one.durable, one]));
  expect(found.size).toBe(301);
  expect(found.get(lanes[299]!.durable)).toEqual({
    durable: lanes[299]!.durable,
    pending: 1,
    ackPending: 0,
  });
  expect(found.get(lanes[0]!.durable)).toMatchObject({ pending: 0 });
  expect(await jetstream.states.stream('STEPS')).toMatchObject({ messages: 1, replicasBehind: 0 });
}, 30_000);
