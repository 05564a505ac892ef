/** What tenants with credentials for NATS send, as it comes out of their accounts. Accounts themselves are the end-to-end suite's. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import { subjects } from '@ironflow/schema';
import { createMetrics } from '@ironflow/service';
import { sharedNats, stopSharedServers } from '@ironflow/testing';
import { createDirectDoor } from './direct-door.js';
import { startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
beforeAll(async () => {
  under = await startIngestUnderTest();
}, 60_000);
afterAll(async () => {
  await under.stop();
  await stopSharedServers();
});

async function send(subject: string, data = '{}', headers?: Record<string, string>): Promise<unknown> {
  const reply = await under.jetstream.connection.request({ subject, data, ...(headers && { headers }) });
  if (reply.kind !== 'message') return reply.kind;
  return JSON.parse(Buffer.from(reply.data).toString()) as unknown;
}

test('a message is acknowledged by the stream that has it', async () => {
  const answer = await send(subjects.directIngest(under.acme.scope, 'order.placed'));
  expect(answer).toEqual({ stream: 'INGEST', seq: expect.any(Number) });
});

test('a message id is of one environment: another’s counts for nothing', async () => {
  const headers = { 'Nats-Msg-Id': 'order-7' };
  const [ours, theirs] = [under.acme.scope, under.globex.scope].map((scope) =>
    send(subjects.directIngest(scope, 'order.placed'), '{}', headers),
  );
  expect(await ours).toEqual({ stream: 'INGEST', seq: expect.any(Number) });
  expect(await theirs).toEqual({ stream: 'INGEST', seq: expect.any(Number) });
});

test.each([
  ['that is the platform’s', 'ironflow.cron.report'],
  ['with a wildcard in it', 'order.*'],
  ['of characters that no event has', 'order.pläced'],
])('a name %s is refused', async (_what, name) => {
  const answer = await send(subjects.directIngest(under.acme.scope, name));
  expect(answer).toMatchObject({ seq: 0, error: { code: 400 } });
});

test('an environment has so many in hand and no more, and its neighbour is served', async () => {
  const server = await sharedNats();
  const jetstream = await connectJetStream({ url: server.url, name: 'test', replicas: 1 });
  const metrics = createMetrics({ service: 'test' });
  const store = { scopeAt: async () => undefined };
  const door = createDirectDoor({
    ...{ jetstream, store, metrics, inHandMax: 1 },
    quotas: { takeEvents: () => undefined },
  });
  door.start();
  await jetstream.connection.nats.flush();
  const codeOf = async (project: string): Promise<number | undefined> => {
    const subject = subjects.directIngest({ project, env: 'prod' }, 'a');
    const reply = await jetstream.connection.request({ subject, data: '{}' });
    if (reply.kind !== 'message') throw new Error(reply.kind);
    return (JSON.parse(Buffer.from(reply.data).toString()) as { error?: { code: number } }).error?.code;
  };
  // One after another on one connection: all are there before the stream has answered the first.
  const flood = Array.from({ length: 50 }, () => codeOf('flood'));
  const neighbour = codeOf('neighbour');
  const codes = await Promise.all(flood);
  expect(codes).toContain(503);
  expect(codes).toContain(undefined);
  expect(new Set(codes).size).toBe(2);
  expect(await neighbour).toBeUndefined();
  await door.stop();
  await jetstream.close();
  await metrics.stop();
});
