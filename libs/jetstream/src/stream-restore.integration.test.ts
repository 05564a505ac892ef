import { afterAll, afterEach, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { createScratch, eventually, startNatsCluster, startNatsServer } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { connectNats } from './connection.js';
import type { Connection } from './connection.js';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';
import { requireApi } from './jetstream-api.js';
import { archiveEnd, decodeMessages, encodeMessage } from './message-archive.js';
import type { StoredMessage } from './message-archive.js';
import { findStream, listStreams, removeStream } from './stream-catalog.js';
import { readStream } from './stream-reader.js';
import { isHalfRestored, loadStream, settleStream } from './stream-restore.js';
import type { RestoreRequest } from './stream-restore.js';

const place = { environmentId: '01940000-0000-7000-8000-000000000001', name: 'stock' };
const bucket = `KV_APP_${place.environmentId}_${place.name}`;
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});
afterAll(() => expect(undo).toEqual([]));

async function startServer(): Promise<NatsServer> {
  const scratch = await createScratch('restore');
  undo.push(() => scratch.remove());
  const server = await startNatsServer({ storeDir: scratch.path });
  undo.push(() => server.kill());
  return server;
}

async function connect(url: string): Promise<Connection> {
  const connection = await connectNats({ url, name: 'test', requestTimeoutMs: 5_000 });
  undo.push(() => connection.close());
  return connection;
}

async function openPlatform(url: string, replicas = 1): Promise<JetStream> {
  const jetstream = await connectJetStream({ url, name: 'services', replicas });
  undo.push(() => jetstream.close());
  return jetstream;
}

interface Saved extends RestoreRequest {
  messages: StoredMessage[];
}

async function save(connection: Connection, name: string): Promise<Saved> {
  const stream = (await findStream(connection, name))!;
  const messages: StoredMessage[] = [];
  for await (const message of readStream(connection, stream)) messages.push(message);
  const lastSequence = Math.max(stream.lastSequence, messages.at(-1)?.sequence ?? 0);
  const state = { ...stream, messages: messages.length, lastSequence };
  return { messages, configuration: stream.configuration, state, read: async () => archiveOf(messages) };
}

async function* archiveOf(messages: readonly StoredMessage[]): AsyncGenerator<Uint8Array> {
  for (const message of messages) yield encodeMessage(message);
  yield archiveEnd;
}

async function restore(connection: Connection, saved: Saved): Promise<{ expired: number }> {
  const outcome = await loadStream(connection, saved);
  await settleStream(connection, saved);
  return outcome;
}

test('every stream and bucket is restored as it was: messages, sequences, times, headers, configuration', async () => {
  const [old, fresh] = [await startServer(), await startServer()];
  const platform = await openPlatform(old.url);
  const { publisher, userBuckets, connection } = platform;
  await userBuckets.ensure(place, { history: 3, maxBytes: 1_000_000 });
  const open = userBuckets.open(place, async () => undefined);
  for (let round = 0; round < 5; round += 1) {
    for (const key of ['a', 'b.c', 'gone']) await open.put(key, JSON.stringify({ key, round }), {});
  }
  await open.delete('gone', undefined);
  await open.put('short', '1', { ttlSeconds: 1 });
  await open.put('long', '1', { ttlSeconds: 3_600 });
  const headers = { 'Nats-Msg-Id': 'x', 'odd-Name': '  kept as it is ' };
  for (const subject of ['ironflow.a.b.ingest.x', 'ironflow.a.b.results.r.step', 'public.a.b.topic.t']) {
    for (let count = 0; count < 700; count += 1) {
      await publisher.publish({
        subject,
        data: `${count}`,
        headers: { ...headers, 'Nats-Msg-Id': `${subject}${count}` },
      });
    }
  }
  const manager = await jetstreamManager(connection.nats);
  await manager.streams.deleteMessage('RESULTS', (await manager.streams.info('RESULTS')).state.last_seq - 5);

  const names = (await listStreams(connection)).map(({ name }) => name);
  expect(names).toHaveLength(13);
  const source = await connect(old.url);
  const saved = await Promise.all(names.map((name) => save(source, name)));
  const counts = new Map(saved.map(({ configuration, messages }) => [configuration.name, messages.length]));
  expect(Object.fromEntries(counts)).toMatchObject({ INGEST: 700, RESULTS: 699, PUBSUB: 700, [bucket]: 11 });
  // Its time to live is a minute, the shortest that there is: as if the backup were older.
  const short = saved.flatMap(({ messages }) => messages).find(({ subject }) => subject.endsWith('.short'))!;
  short.storedAtNs -= 120_000_000_000n;

  const target = await connect(fresh.url);
  for (const one of saved) {
    const { expired } = await restore(target, one);
    expect(expired).toBe(one.configuration.name === bucket ? 1 : 0);
    const [before, after] = [
      await findStream(source, one.configuration.name),
      await findStream(target, one.configuration.name),
    ];
    expect(after!.lastSequence).toBe(one.state.lastSequence);
    expect(after!.configuration).toEqual({ ...before!.configuration, metadata: expect.anything() });
    expect(isHalfRestored(after!.configuration)).toBe(false);
  }
  const reopened = (await openPlatform(fresh.url)).userBuckets.open(place, () =>
    Promise.reject(new Error('none')),
  );
  expect(await reopened.get('a')).toEqual(await open.get('a'));
  expect(await reopened.get('long')).toMatchObject({ value: '1' });
  expect(await reopened.get('gone')).toBeUndefined();
  const { revision } = (await reopened.get('b.c'))!;
  expect(await reopened.put('b.c', '7', { revision })).toMatchObject({ kind: 'stored' });
  const raw = await requireApi<{ message: { hdrs: string } }>(target, 'STREAM.MSG.GET.PUBSUB', {
    last_by_subj: 'public.a.b.topic.t',
  });
  expect(Buffer.from(raw.message.hdrs, 'base64').toString()).toContain('odd-Name:   kept as it is \r\n');
}, 60_000);

test('sequences go on where the restore says, also after the server was killed', async () => {
  const [old, fresh] = [await startServer(), await startServer()];
  const platform = await openPlatform(old.url);
  await platform.userBuckets.ensure(place, { history: 1, maxBytes: 1_000_000 });
  const open = platform.userBuckets.open(place, async () => undefined);
  await open.put('a', '1', {});
  const saved = await save(await connect(old.url), bucket);
  const ahead = saved.state.lastSequence + 1_000_000;
  const target = await connect(fresh.url);
  await restore(target, { ...saved, state: { ...saved.state, lastSequence: ahead } });
  const reopened = (await openPlatform(fresh.url)).userBuckets.open(place, async () => undefined);
  expect(await reopened.get('a')).toMatchObject({ revision: 1 });
  expect(await reopened.put('b', '2', {})).toEqual({ kind: 'stored', revision: ahead + 1 });
  expect(await reopened.keys('>', 10)).toEqual(['a', 'b']);
  await fresh.kill();
  await fresh.restart();
  await eventually(async () => expect(await reopened.get('b')).toMatchObject({ revision: ahead + 1 }), {
    timeoutMs: 10_000,
  });
});

test('a bucket that is written all the time is read as it was at one moment: no key is missing', async () => {
  const server = await startServer();
  const platform = await openPlatform(server.url);
  await platform.userBuckets.ensure(place, { history: 1, maxBytes: 64_000_000 });
  const open = platform.userBuckets.open(place, async () => undefined);
  const hot = ['hot-1', 'hot-2', 'hot-3', 'hot-4'];
  const pair = ['pair-1', 'pair-2'] as const;
  const keys = Array.from({ length: 2_000 }, (_, index) => `key-${index}`);
  await Promise.all([...keys, ...hot, ...pair].map((key) => open.put(key, '0', {})));
  let isWriting = true;
  const write = async (names: readonly string[]): Promise<void> => {
    for (let round = 1; isWriting; round += 1) for (const name of names) await open.put(name, `${round}`, {});
  };
  // Of a pair one is never ahead of the other by more than one.
  const writing = [...hot.map((name) => [name]), pair, keys].map(write);
  undo.push(async () => {
    isWriting = false;
    await Promise.all(writing);
  });
  const reader = await connect(server.url);
  for (let reading = 0; reading < 10; reading += 1) {
    const { messages } = await save(reader, bucket);
    const last = new Map(
      messages.map(({ subject, data }) => [subject.split('.').at(-1), Number(Buffer.from(data))]),
    );
    expect(last.size).toBe(keys.length + hot.length + pair.length);
    const [ahead, behind] = pair.map((name) => last.get(name)!);
    expect([0, 1]).toContain(ahead! - behind!);
  }
}, 60_000);

test('what was changed on its way is refused, by the server or by the comparison', async () => {
  const [old, fresh] = [await startServer(), await startServer()];
  const platform = await openPlatform(old.url);
  for (let count = 0; count < 10; count += 1) {
    await platform.publisher.publish({ subject: 'public.a.b.topic.t', data: 'x'.repeat(100) });
  }
  const saved = await save(await connect(old.url), 'PUBSUB');
  const target = await connect(fresh.url);
  const tries: { messages: StoredMessage[]; rule: RegExp }[] = [
    { messages: saved.messages.toReversed(), rule: /out of order/ },
    { messages: [{ ...saved.messages[0]!, sequence: 1 }, ...saved.messages.slice(1)], rule: /JetStream/ },
  ];
  for (const { messages, rule } of tries) {
    const read = async () => archiveOf(messages);
    await expect(loadStream(target, { ...saved, read })).rejects.toThrow(rule);
    await removeStream(target, 'PUBSUB');
  }
  // Truncated: its end is missing.
  async function* cut(): AsyncGenerator<Uint8Array> {
    for (const message of saved.messages) yield encodeMessage(message);
  }
  await expect(loadStream(target, { ...saved, read: async () => cut() })).rejects.toMatchObject({
    code: 'restore_interrupted',
  });
  await removeStream(target, 'PUBSUB');
  // What is compared is read anew: as if the server had stored something else.
  let reads = 0;
  const changed = saved.messages.map((message) => ({ ...message, data: Buffer.from('y'.repeat(100)) }));
  const read = async () => archiveOf(reads++ === 0 ? changed : saved.messages);
  await expect(loadStream(target, { ...saved, read })).rejects.toMatchObject({ code: 'restore_differs' });
  expect(isHalfRestored((await findStream(target, 'PUBSUB'))!.configuration)).toBe(true);
});

test('a server that dies in mid-way ends a restore with an error, and what it left is known by its mark', async () => {
  const [old, fresh] = [await startServer(), await startServer()];
  const platform = await openPlatform(old.url);
  for (let count = 0; count < 200; count += 1) {
    await platform.publisher.publish({ subject: 'public.a.b.topic.t', data: 'x'.repeat(10_000) });
  }
  const saved = await save(await connect(old.url), 'PUBSUB');
  const target = await connect(fresh.url);
  async function* dying(): AsyncGenerator<Uint8Array> {
    for (const [index, message] of saved.messages.entries()) {
      if (index === 100) await fresh.kill();
      yield encodeMessage(message);
    }
    yield archiveEnd;
  }
  await expect(loadStream(target, { ...saved, read: async () => dying() })).rejects.toMatchObject({
    category: 'unavailable',
  });
  await fresh.restart();
  const left = await eventually(() => findStream(target, 'PUBSUB'), { timeoutMs: 10_000 });
  if (left !== undefined) expect(isHalfRestored(left.configuration)).toBe(true);
  await removeStream(target, 'PUBSUB');
  await restore(target, saved);
  expect((await findStream(target, 'PUBSUB'))!.messages).toBe(200);
}, 60_000);

test('a cluster gets every message on all replicas, and is read on when its leader dies in mid-way', async () => {
  const old = await startServer();
  const platform = await openPlatform(old.url);
  await platform.userBuckets.ensure(place, { history: 1, maxBytes: 64_000_000 });
  const open = platform.userBuckets.open(place, async () => undefined);
  await Promise.all(
    Array.from({ length: 2_000 }, (_, index) => open.put(`key-${index}`, `"${'x'.repeat(500)}"`, {})),
  );
  for (let count = 0; count < 500; count += 1) {
    await platform.publisher.publish({ subject: 'ironflow.a.b.ingest.x', data: `${count}` });
  }
  const source = await connect(old.url);
  const saved = [await save(source, bucket), await save(source, 'INGEST')];
  const scratch = await createScratch('restore-cluster');
  undo.push(() => scratch.remove());
  const cluster = await startNatsCluster({ storeDir: scratch.path });
  undo.push(() => cluster.stop());
  const target = await connect(cluster.urls.join(','));
  for (const one of saved) {
    const configuration = { ...one.configuration, num_replicas: 3 };
    const state = { ...one.state, lastSequence: one.state.lastSequence + 1_000_000 };
    await restore(target, { ...one, configuration, state });
  }
  const info = await requireApi<{ cluster: { leader: string; replicas: unknown[] } }>(
    target,
    `STREAM.INFO.${bucket}`,
    {},
  );
  expect(info.cluster.replicas).toHaveLength(2);
  const again: string[] = [];
  for await (const { subject } of readStream(target, (await findStream(target, bucket))!)) {
    again.push(subject);
    if (again.length === 700)
      await cluster.servers.find(({ serverName }) => serverName === info.cluster.leader)!.kill();
  }
  expect(again).toEqual(saved[0]!.messages.map(({ subject }) => subject));
}, 120_000);

test('messages that are decoded are those that were read', async () => {
  const server = await startServer();
  const platform = await openPlatform(server.url);
  await platform.publisher.publish({ subject: 'public.a.b.topic.t', data: '', headers: { a: 'b' } });
  const { messages, read } = await save(await connect(server.url), 'PUBSUB');
  const decoded: StoredMessage[] = [];
  for await (const message of decodeMessages(await read())) decoded.push(message);
  expect(decoded.map(({ sequence, storedAtNs, subject }) => ({ sequence, storedAtNs, subject }))).toEqual(
    messages.map(({ sequence, storedAtNs, subject }) => ({ sequence, storedAtNs, subject })),
  );
  expect(Buffer.from(decoded[0]!.headers).toString()).toMatch(/^NATS\/1\.0\r\n(.*\r\n)*a: b\r\n\r\n$/);
});
