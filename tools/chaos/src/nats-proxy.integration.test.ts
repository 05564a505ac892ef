import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { subjects } from '@ironflow/schema';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { startNatsProxy } from './nats-proxy.js';
import type { NatsProxy } from './nats-proxy.js';
import { createRandom } from './random.js';

let proxy: NatsProxy;
let jetstream: JetStream;

beforeAll(async () => {
  const { port } = await sharedNats();
  proxy = await startNatsProxy({ port, random: createRandom(1) });
  jetstream = await connectJetStream({ url: proxy.url, name: 'proxied', replicas: 1, requestTimeoutMs: 500 });
});
afterAll(async () => {
  await jetstream.close();
  await proxy.stop();
  await stopSharedServers();
});

const scope = { project: 'p', env: 'e' };
const publish = (name: string, messageId: string) =>
  jetstream.publisher.publish({ subject: subjects.event(scope, name), data: '{}', messageId });

test('messages pass, and a lossy network stores each of them once however it repeats and drops', async () => {
  expect(await publish('calm', 'calm')).toMatchObject({ kind: 'stored', duplicate: false });
  const { messages: before } = await jetstream.states.stream('EVENTS');
  proxy.setLossy(true);
  const results = await Promise.all(Array.from({ length: 200 }, (_, n) => publish('lossy', `lossy ${n}`)));
  proxy.setLossy(false);
  const unanswered = results.filter(({ kind }) => kind === 'unanswered').length;
  expect(unanswered).toBeGreaterThan(0);
  expect(results.filter(({ kind }) => kind === 'stored').length).toBe(200 - unanswered);
  expect(proxy.counts.droppedPublishAcks).toBeGreaterThanOrEqual(unanswered);
  expect(proxy.counts.duplicates).toBeGreaterThan(0);
  expect((await jetstream.states.stream('EVENTS')).messages - before).toBe(200);
});

test('a connection that is cut is made again through the proxy', async () => {
  proxy.cut();
  await eventually(async () => expect((await publish('cut', 'cut')).kind).toBe('stored'));
});

test('what is sent while it is frozen arrives once it is thawed', async () => {
  proxy.freeze();
  const published = publish('frozen', 'frozen');
  expect((await published).kind).toBe('unanswered');
  proxy.thaw();
  await eventually(async () => {
    expect(await publish('frozen', 'frozen')).toMatchObject({ kind: 'stored', duplicate: true });
  });
});
