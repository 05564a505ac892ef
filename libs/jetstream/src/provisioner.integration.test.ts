import { afterAll, afterEach, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { buckets, consumers, streams, subjects } from '@ironflow/schema';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const place = { project: 'acme', env: 'prod' };
const open: JetStream[] = [];
const connect = async (overrides = {}): Promise<JetStream> => {
  const server = await sharedNats();
  const jetstream = await connectJetStream({ url: server.url, name: 'test', replicas: 1, overrides });
  open.push(jetstream);
  return jetstream;
};
afterEach(async () => {
  for (const jetstream of open.splice(0)) await jetstream.close();
});
afterAll(stopSharedServers);

test('ten services that start at the same time all find every stream, consumer and bucket', async () => {
  const [first] = await Promise.all(Array.from({ length: 10 }, () => connect()));
  const manager = await jetstreamManager(first!.connection.nats);
  for (const name of [...Object.keys(streams), ...Object.keys(buckets).map((bucket) => `KV_${bucket}`)]) {
    expect((await manager.streams.info(name)).config.name).toBe(name);
  }
  for (const { stream, durable } of Object.values(consumers)) {
    expect((await manager.consumers.info(stream, durable)).config.ack_policy).toBe('explicit');
  }
});

test('provisioning again keeps what is stored and takes over sizes that were changed', async () => {
  const first = await connect();
  const subject = subjects.event(place, 'order.placed');
  const stored = await first.publisher.publish({ subject, data: '{}' });
  const maxBytes = 7 * 1024 * 1024;
  const second = await connect({ EVENTS: { maxBytes, maxAgeMs: 60_000 } });
  const info = await (await jetstreamManager(second.connection.nats)).streams.info('EVENTS');
  expect(info.config).toMatchObject({ max_bytes: maxBytes, max_age: 60_000 * 1e6 });
  expect(stored).toMatchObject({ kind: 'stored', sequence: info.state.last_seq });
});

test('a bucket that another version made is adjusted and keeps its keys', async () => {
  const first = await connect();
  const manager = await jetstreamManager(first.connection.nats);
  await first.bucket('SYS_functions').put('kept', '1');
  await manager.streams.update('KV_SYS_functions', { max_bytes: 7_000, max_age: 1e12, allow_direct: true });
  const second = await connect();
  const { config } = await manager.streams.info('KV_SYS_functions');
  expect(config).toMatchObject({
    max_bytes: buckets.SYS_functions.maxBytes,
    max_age: buckets.SYS_functions.ttlMs,
    allow_direct: false,
  });
  expect(await second.bucket('SYS_functions').get('kept')).toMatchObject({ value: '1' });
});

test('provisioning what is as it should be changes nothing', async () => {
  const first = await connect();
  const updates: string[] = [];
  first.connection.listen('$JS.API.STREAM.UPDATE.*', ({ subject }) => updates.push(subject));
  await first.connection.nats.flush();
  await first.provisioner.ensure();
  await first.connection.nats.flush();
  expect(updates).toEqual([]);
});

test('sequences of RESULTS and STEPS begin at the time in microseconds, also after everything was lost', async () => {
  const server = await sharedNats();
  const jetstream = await connect();
  const before = (await jetstream.states.stream('RESULTS')).firstSequence;
  expect(Math.abs(before / 1_000 - Date.now())).toBeLessThan(600_000);
  await server.kill();
  await server.restart({ wipe: true });
  const after = await eventually(
    async () => {
      await jetstream.provisioner.ensure();
      return (await jetstream.states.stream('RESULTS')).firstSequence;
    },
    { timeoutMs: 10_000 },
  );
  expect(after).toBeGreaterThan(before);
  expect((await jetstream.states.stream('STEPS')).firstSequence).toBeGreaterThan(before);
});
