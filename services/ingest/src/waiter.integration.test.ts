import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { StoredEvent } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import {
  complete,
  completedNotice,
  newId,
  registerHello,
  route,
  startIngestUnderTest,
  tellRouted,
} from './testing/ingest-under-test.js';
import type { IngestUnderTest } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
let stopListening: (() => void) | undefined;
beforeAll(async () => {
  under = await startIngestUnderTest();
  await registerHello(under, under.acme.scope);
}, 60_000);
afterAll(async () => {
  stopListening?.();
  await under.stop();
});

/** Plays the rest of the platform for every event that comes now. */
function whenPublished(play: (event: StoredEvent) => Promise<void>): void {
  stopListening?.();
  stopListening = under.onEvent((event) => void play(event));
}

const event = { name: 'user.created', data: 1 };

describe('emit and wait', () => {
  test('answers the output of every run as it was recorded', async () => {
    const output = '{"total": 1.50, "big": 12345678901234567890}';
    whenPublished(async (stored) => {
      expect(stored.awaited).toBe(true);
      const runId = await route(under, stored);
      await complete(under, stored, { runId, output });
    });
    const response = await fetch(`${under.url}/v1/events?wait=20s`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${under.acme.apiKey}` },
      body: JSON.stringify(event),
    });
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(text).toContain(`"output":${output}}`);
    expect(JSON.parse(text)).toMatchObject({ runs: [{ functionId: 'hello', status: 'completed' }] });
  });

  test('understands an end that is told before the runs of its event', async () => {
    whenPublished(async (stored) => {
      const runId = await route(under, stored, { quietly: true });
      await complete(under, stored, { runId, output: '"early"' });
      tellRouted(under, stored, runId);
    });
    const startedAtMs = performance.now();
    const { status, body } = await under.post('/v1/events?wait=20s', event);
    expect(status).toBe(200);
    expect(body.runs).toMatchObject([{ output: 'early' }]);
    // From the notices: the first look at Postgres comes after two seconds.
    expect(performance.now() - startedAtMs).toBeLessThan(1_900);
  });

  test('waits for the runs of a whole batch', async () => {
    whenPublished(async (stored) => {
      const runId = await route(under, stored);
      await complete(under, stored, { runId, output: stored.data });
    });
    const batch = Array.from({ length: 50 }, (_, data) => ({ ...event, data }));
    const { status, body } = await under.post('/v1/events?wait=20s', batch);
    expect(status).toBe(200);
    expect(body.runs!.map(({ output }) => output)).toEqual(batch.map(({ data }) => data));
  });

  test('answers at once when nothing matches', async () => {
    whenPublished(async ({ scope, id: eventId }) => {
      under.jetstream.notices.publishEventRouted({ scope, eventId, runs: [] });
    });
    const { status, body } = await under.post('/v1/events?wait=20s', event);
    expect(status).toBe(200);
    expect(body.runs).toEqual([]);
  });

  test('reads from Postgres what a notice leaves out', async () => {
    whenPublished(async (stored) => {
      const runId = await route(under, stored);
      await complete(under, stored, { runId, output: '"from the row"', omitOutput: true });
    });
    const { body } = await under.post('/v1/events?wait=20s', event);
    expect(body.runs).toMatchObject([{ output: 'from the row' }]);
  });

  test('does not need its notices, only a little longer', async () => {
    whenPublished(async (stored) => {
      const runId = await route(under, stored, { quietly: true });
      await complete(under, stored, { runId, output: '"unheard"', quietly: true });
    });
    const startedAtMs = performance.now();
    const { body } = await under.post('/v1/events?wait=20s', event);
    expect(body.runs).toMatchObject([{ output: 'unheard' }]);
    expect(performance.now() - startedAtMs).toBeLessThan(6_000);
  });

  test('answers the state of the runs at the deadline', async () => {
    whenPublished(async (stored) => void (await route(under, stored)));
    const { status, body } = await under.post('/v1/events?wait=300ms', event);
    expect(status).toBe(200);
    expect(body.runs).toMatchObject([{ functionId: 'hello', status: 'queued' }]);
  });

  test('says 202 at the deadline when it is not known which runs there will be', async () => {
    whenPublished(() => Promise.resolve());
    const { status, body } = await under.post('/v1/events?wait=100ms', event);
    expect(status).toBe(202);
    expect(body).toMatchObject({ runs: [] });
    expect(body.ids).toHaveLength(1);
  });

  test('finds the runs of an event that was emitted before', async () => {
    const keyed = { ...event, idempotencyKey: newId() };
    whenPublished(async (stored) => {
      const runId = await route(under, stored);
      await complete(under, stored, { runId, output: '"once"' });
    });
    const first = await under.post('/v1/events?wait=20s', keyed);
    const again = await under.post('/v1/events?wait=20s', keyed);
    expect(again).toMatchObject({ status: 200, body: first.body });
  });

  test('takes no notice of another environment, whatever ids it names', async () => {
    whenPublished(async (stored) => {
      const forged = { ...stored, scope: under.globex.scope };
      const runId = newId();
      tellRouted(under, forged, runId);
      under.jetstream.notices.publishRun(completedNotice(forged, { runId, output: '"forged"' }), 'completed');
      await under.jetstream.connection.nats.flush();
    });
    const { status, body } = await under.post('/v1/events?wait=300ms', event);
    expect(status).toBe(202);
    expect(body.runs).toEqual([]);
  });

  test('forgets the wait when the client goes away', async () => {
    const openWaits = async (): Promise<string | undefined> =>
      /ironflow_ingest_waits_open\{?[^}\n]*\}? (\d+)/.exec(
        await (await fetch(`${under.url}/metrics`)).text(),
      )?.[1];
    whenPublished(() => Promise.resolve());
    const gone = new AbortController();
    const request = under.post('/v1/events?wait=50s', event, { signal: gone.signal });
    const ended = expect(request).rejects.toThrow();
    await eventually(async () => expect(await openWaits()).toBe('1'));
    gone.abort();
    await ended;
    await eventually(async () => expect(await openWaits()).toBe('0'));
  });
});

test('what was accepted while NATS was away is stored, answered at once, and told by Postgres', async () => {
  await under.servers.nats.kill();
  await eventually(() => expect(under.jetstream.isConnected()).toBe(false));
  expect((await fetch(`${under.url}/readyz`)).status).toBe(503);
  const startedAtMs = performance.now();
  const plain = await under.post('/v1/events', event);
  expect(plain.status).toBe(202);
  expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  const waited = await under.post('/v1/events?wait=100ms', event);
  expect(waited.status).toBe(202);
  const rows = await under.platform.prisma.unroutedEvent.findMany({
    where: { eventId: { in: [...plain.body.ids!, ...waited.body.ids!] } },
  });
  expect(rows).toHaveLength(2);

  // Empty, and nobody restarts or calls anything: streams are made again and events are told again.
  await under.servers.nats.restart({ wipe: true });
  await eventually(() => expect(under.jetstream.isConnected()).toBe(true), { timeoutMs: 10_000 });
  whenPublished(async (stored) => {
    const runId = await route(under, stored);
    await complete(under, stored, { runId, output: '"after"' });
  });
  await under.jetstream.connection.nats.flush();
  const after = await under.post('/v1/events?wait=20s', event);
  expect(after).toMatchObject({ status: 200, body: { runs: [{ output: 'after' }] } });
}, 60_000);

test('without Postgres events are refused with 503 and accepted again when it is back', async () => {
  whenPublished(() => Promise.resolve());
  await under.servers.postgres.kill();
  const refused = await under.post('/v1/events', event);
  expect(refused).toMatchObject({ status: 503, body: { error: { code: 'database_unavailable' } } });
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  await under.servers.postgres.restart();
  await eventually(async () => expect((await under.post('/v1/events', event)).status).toBe(202), {
    timeoutMs: 15_000,
    intervalMs: 200,
  });
}, 60_000);

test('a stop answers those who wait, at once and with what is known', async () => {
  const other = await startIngestUnderTest();
  await registerHello(other, other.acme.scope);
  const isRouted = new Promise<void>((resolve) => {
    other.onEvent((stored) => void route(other, stored).then(() => resolve()));
  });
  const answer = other.post('/v1/events?wait=50s', event);
  await isRouted;
  const startedAtMs = performance.now();
  await other.stop();
  expect(await answer).toMatchObject({
    status: 200,
    body: { runs: [{ functionId: 'hello', status: 'queued' }] },
  });
  expect(performance.now() - startedAtMs).toBeLessThan(8_000);
}, 60_000);
