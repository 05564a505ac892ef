import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { subjects } from '@ironflow/schema';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const place = { project: 'acme', env: 'prod' };
const kibibyte = 1024;
let jetstream: JetStream;
beforeAll(async () => {
  jetstream = await connectJetStream({
    url: (await sharedNats()).url,
    name: 'test',
    replicas: 1,
    overrides: { INGEST: { maxBytes: 64 * kibibyte }, STEPS: { maxBytes: 64 * kibibyte } },
  });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

const activation = (runId: string): string =>
  subjects.activation(place, { mode: 'push', appId: 'shop', functionId: 'f', runId });

test('the same message id is stored once and answers with the first sequence', async () => {
  const publication = { subject: subjects.event(place, 'a.b'), data: '{}', messageId: 'environment.1' };
  const first = await jetstream.publisher.publish(publication);
  expect(first).toMatchObject({ kind: 'stored', duplicate: false });
  expect(await jetstream.publisher.publish(publication)).toEqual({ ...first, duplicate: true });
});

test('an expectation that does not hold is a conflict and stores nothing', async () => {
  const subject = subjects.journal(place, 'r1', 'step');
  const expectation = { filter: subjects.journalOf(place, 'r1'), lastSequence: 0 };
  expect((await jetstream.publisher.publish({ subject, data: '{}', expect: expectation })).kind).toBe(
    'stored',
  );
  const { messages } = await jetstream.states.stream('RESULTS');
  expect(await jetstream.publisher.publish({ subject, data: '{}', expect: expectation })).toEqual({
    kind: 'conflict',
  });
  expect((await jetstream.states.stream('RESULTS')).messages).toBe(messages);
});

test('a second activation of a run is told apart from a full stream, which answers the same code', async () => {
  expect((await jetstream.publisher.publish({ subject: activation('r1'), data: '{}' })).kind).toBe('stored');
  expect(await jetstream.publisher.publish({ subject: activation('r1'), data: '{}' })).toEqual({
    kind: 'subject_taken',
  });
  const kinds = new Set<string>();
  for (let count = 0; count < 100 && !kinds.has('stream_full'); count += 1) {
    const data = 'x'.repeat(2 * kibibyte);
    kinds.add((await jetstream.publisher.publish({ subject: activation(`full${count}`), data })).kind);
  }
  expect([...kinds]).toEqual(['stored', 'stream_full']);
  const { bytes, maxBytes } = await jetstream.states.stream('STEPS');
  expect(maxBytes).toBe(64 * kibibyte);
  expect(bytes).toBeLessThanOrEqual(maxBytes);
});

test('a stream that is gone is reported and made again without anybody asking', async () => {
  const manager = await jetstreamManager(jetstream.connection.nats);
  await manager.streams.delete('CANCEL');
  const publish = () => jetstream.publisher.publish({ subject: 'ironflow.acme.prod.cancel.r1', data: '{}' });
  expect(await publish()).toEqual({ kind: 'no_stream' });
  await eventually(async () => expect((await publish()).kind).toBe('stored'));
});

test('a header with a line break is refused instead of becoming a header of its own', async () => {
  const subject = subjects.event(place, 'a.b');
  const headers = { traceparent: '00-x\r\nNats-Rollup: all' };
  await expect(jetstream.publisher.publish({ subject, data: '{}', headers })).rejects.toMatchObject({
    code: 'header_invalid',
  });
});

test('a message larger than the server takes is refused at once', async () => {
  const subject = subjects.event(place, 'a.b');
  const data = 'x'.repeat(2 * kibibyte * kibibyte);
  await expect(jetstream.publisher.publish({ subject, data })).rejects.toMatchObject({
    code: 'message_refused',
  });
});

test('what is published while the server is away is stored once it is back, and only once', async () => {
  const server = await sharedNats();
  const subject = subjects.event(place, 'late');
  const publish = () => jetstream.publisher.publish({ subject, data: '{}', messageId: 'environment.late' });
  await server.kill();
  await eventually(() => expect(jetstream.isConnected()).toBe(false));
  const waiting = publish();
  await server.restart();
  await waiting;
  await eventually(async () => expect((await publish()).kind).toBe('stored'), { timeoutMs: 15_000 });
  const manager = await jetstreamManager(jetstream.connection.nats);
  const { state } = await manager.streams.info('EVENTS', { subjects_filter: subject });
  expect(state.subjects).toEqual({ [subject]: 1 });
});
