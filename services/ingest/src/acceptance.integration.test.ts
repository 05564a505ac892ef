import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '@ironflow/testing';
import {
  holdEvents,
  metricOf,
  newId,
  registerHello,
  startIngestUnderTest,
} from './testing/ingest-under-test.js';
import type { IngestUnderTest } from './testing/ingest-under-test.js';

const kibibyte = 1024;
let under: IngestUnderTest;
beforeAll(async () => {
  under = await startIngestUnderTest({
    acceptanceLimits: {
      pendingBytesMax: 1_024 * kibibyte,
      requestsPerEnvironmentMax: 10,
      statementsPerEnvironmentMax: 1,
    },
    awaitedEventsMax: 2,
  });
  await registerHello(under, under.acme.scope);
}, 60_000);
afterAll(() => under.stop());

const event = { name: 'user.created' };
const overloaded = { status: 503, body: { error: { code: 'overloaded' } } };

/** A request whose body does not come. */
function begin(headers: string): { socket: Socket; answer: Promise<string> } {
  const { hostname, port } = new URL(under.url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => undefined);
  const answer = new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString())));
  const authorization = `Authorization: Bearer ${under.acme.apiKey}`;
  socket.write(
    `POST /v1/events HTTP/1.1\r\nHost: a\r\n${authorization}\r\nContent-Type: application/json\r\n${headers}\r\n\r\n`,
  );
  return { socket, answer };
}

test.each(['Content-Length: 2097152', 'Transfer-Encoding: chunked'])(
  'a body for which there is no room is refused before it is read: %s',
  async (header) => {
    const { socket, answer } = begin(header);
    expect(await answer).toMatch(/^HTTP\/1.1 503 [^]*"overloaded"/);
    socket.destroy();
  },
);

test('a body that is being read takes room, until whoever sends it leaves', async () => {
  const { socket } = begin(`Content-Length: ${1_000 * kibibyte}`);
  await eventually(async () => expect(await metricOf(under, 'ingest_pending_bytes')).toBe(1_000 * kibibyte));
  const large = { ...event, data: 'x'.repeat(100 * kibibyte) };
  expect(await under.post('/v1/events', large)).toMatchObject(overloaded);
  expect(await under.post('/v1/events', event)).toMatchObject({ status: 202 });
  socket.destroy();
  await eventually(async () => expect(await metricOf(under, 'ingest_pending_bytes')).toBe(0));
  expect(await under.post('/v1/events', large)).toMatchObject({ status: 202 });
  expect(await metricOf(under, 'ingest_pending_bytes')).toBe(0);
});

test('requests above what may wait for the database are refused, and all others are stored', async () => {
  const held = await holdEvents(under);
  const storedBefore = await metricOf(under, 'ingest_events_accepted_total', 'http');
  const first = under.post('/v1/events', event);
  await eventually(async () => expect(await held.waiting()).toBe(1));
  const rest = await Promise.all(
    // The body of each is parsed by the time the next is sent.
    Array.from({ length: 12 }, () => Promise.resolve({ answer: under.post('/v1/events', event) })),
  );
  await eventually(async () =>
    expect(await metricOf(under, 'ingest_requests_refused_total', 'overloaded')).toBeGreaterThanOrEqual(2),
  );
  await held.release();
  const statuses = (await Promise.all([first, ...rest.map(({ answer }) => answer)])).map(
    ({ status }) => status,
  );
  expect(statuses.filter((status) => status === 202)).toHaveLength(11);
  expect(statuses.filter((status) => status === 503)).toHaveLength(2);
  expect((await metricOf(under, 'ingest_events_accepted_total', 'http')) - storedBefore).toBe(11);
});

test('a key that belongs to another event costs its own request alone, however many share the statement', async () => {
  const idempotencyKey = newId();
  const charge = await under.post('/v1/events', { name: 'charge', idempotencyKey });
  const held = await holdEvents(under);
  const first = under.post('/v1/events', event);
  await eventually(async () => expect(await held.waiting()).toBe(1));
  const fine = Array.from({ length: 6 }, () => under.post('/v1/events', event));
  const ship = under.post('/v1/events', [event, { name: 'ship', idempotencyKey }]);
  const again = under.post('/v1/events', { name: 'charge', idempotencyKey });
  // All of them are counted, so they are in one batch behind the statement that waits.
  await eventually(async () => expect(await metricOf(under, 'ingest_pending_bytes')).toBe(10 * (4 + 500)));
  const countBefore = await metricOf(under, 'ingest_events_accepted_total', 'http');
  await held.release();
  for (const answer of await Promise.all([first, ...fine])) expect(answer.status).toBe(202);
  expect(await ship).toMatchObject({ status: 409, body: { error: { code: 'idempotency_key_reused' } } });
  expect(await again).toMatchObject({ status: 202, body: { ids: charge.body.ids } });
  // Neither the event of the reused key nor its neighbour in the request.
  expect((await metricOf(under, 'ingest_events_accepted_total', 'http')) - countBefore).toBe(7);
});

test('an invocation is never taken for that of another function', async () => {
  await under.post('/v1/invocations', { function: 'hello', idempotencyKey: 'k' });
  const emitted = await under.post('/v1/events', { ...event, idempotencyKey: 'k' });
  expect(emitted).toMatchObject({ status: 409, body: { error: { code: 'idempotency_key_reused' } } });
});

test('waits above what may be waited for are refused, and nothing of them is stored', async () => {
  const keyed = { ...event, idempotencyKey: newId() };
  const gone = new AbortController();
  // Two requests that wait for one event are two waits.
  const waiting = [1, 2].map(() => under.post('/v1/events?wait=50s', keyed, { signal: gone.signal }));
  const ended = waiting.map((one) => expect(one).rejects.toThrow());
  await eventually(async () => expect(await metricOf(under, 'ingest_waits_open')).toBe(2));
  const countBefore = await under.countEvents(under.acme.scope);
  expect(await under.post('/v1/events?wait=1s', event)).toMatchObject(overloaded);
  expect(await under.countEvents(under.acme.scope)).toBe(countBefore);
  gone.abort();
  await Promise.all(ended);
  await eventually(async () => expect(await metricOf(under, 'ingest_waits_open')).toBe(0));
});

test('whoever leaves before the commit is not waited for', async () => {
  const held = await holdEvents(under);
  const cancelledBefore = await metricOf(under, 'ingest_waits_total', 'cancelled');
  const gone = new AbortController();
  const ended = expect(under.post('/v1/events?wait=50s', event, { signal: gone.signal })).rejects.toThrow();
  await eventually(async () => expect(await held.waiting()).toBe(1));
  gone.abort();
  await ended;
  // Whoever is served after it left proves that the server has heard so.
  await metricOf(under, 'ingest_waits_open');
  await held.release();
  await eventually(async () =>
    expect((await metricOf(under, 'ingest_waits_total', 'cancelled')) - cancelledBefore).toBe(1),
  );
  expect(await metricOf(under, 'ingest_waits_open')).toBe(0);
});
