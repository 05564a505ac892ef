import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { deriveRunId } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import { createManualClock, eventually } from '@ironflow/testing';
import {
  complete,
  completedNotice,
  metricOf,
  newId,
  registerHello,
  route,
  startIngestUnderTest,
  tellRouted,
} from './testing/ingest-under-test.js';
import type { IngestUnderTest } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
let stopListening: (() => void) | undefined;
/** No time passes by itself: whatever is answered without it is answered from notices, or at once. */
const clock = createManualClock(Date.now());
beforeAll(async () => {
  under = await startIngestUnderTest({ clock });
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

/** Lets time pass once the request waits. */
async function passing<T>(ms: number, request: Promise<T>): Promise<T> {
  await eventually(async () => expect(await openWaits()).toBe(1));
  await clock.advance(ms);
  return request;
}

function openWaits(): Promise<number> {
  return metricOf(under, 'ingest_waits_open');
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
    const { status, body } = await under.post('/v1/events?wait=20s', event);
    expect(status).toBe(200);
    expect(body.runs).toMatchObject([{ output: 'early' }]);
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

  test('says why a run was skipped, and which one its event has joined', async () => {
    const joined = newId();
    whenPublished(async (stored) => {
      const runId = await route(under, stored);
      const skip = {
        name: 'test_skip',
        text: `update runs set status = 'skipped', ended_at = now(), skip_reason = 'batch', joined_run_id = $2
          where id = $1`,
      };
      await under.platform.query(skip, [runId, joined]);
      const { output: _none, ...notice } = completedNotice(stored, { runId, output: '' });
      under.jetstream.notices.publishRun({ ...notice, status: 'skipped' }, 'skipped');
    });
    const { body } = await under.post('/v1/events?wait=20s', event);
    expect(body.runs).toEqual([
      {
        ...{ id: expect.any(String), functionId: 'hello', status: 'skipped' },
        ...{ skipReason: 'batch', joinedRunId: joined },
      },
    ]);
  });

  test('does not need its notices, only a little longer', async () => {
    const isCompleted = new Promise<void>((resolve) => {
      whenPublished(async (stored) => {
        const runId = await route(under, stored, { quietly: true });
        await complete(under, stored, { runId, output: '"unheard"', quietly: true });
        resolve();
      });
    });
    const answer = under.post('/v1/events?wait=20s', event);
    await isCompleted;
    const { body } = await passing(3_000, answer);
    expect(body.runs).toMatchObject([{ output: 'unheard' }]);
  });

  test('answers the state of the runs at the deadline', async () => {
    const isRouted = new Promise<void>((resolve) => {
      whenPublished(async (stored) => void (await route(under, stored).then(() => resolve())));
    });
    const answer = under.post('/v1/events?wait=300ms', event);
    await isRouted;
    const { status, body } = await passing(300, answer);
    expect(status).toBe(200);
    expect(body.runs).toMatchObject([{ functionId: 'hello', status: 'queued' }]);
  });

  test('says 202 at the deadline when it is not known which runs there will be', async () => {
    whenPublished(() => Promise.resolve());
    const { status, body } = await passing(100, under.post('/v1/events?wait=100ms', event));
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
    const isTold = new Promise<void>((resolve) => {
      whenPublished(async (stored) => {
        const forged = { ...stored, scope: under.globex.scope };
        const { environmentId } = under.globex.scope;
        const runId = deriveRunId({ environmentId, eventId: stored.id, functionId: 'hello' });
        tellRouted(under, forged, runId);
        const notice = completedNotice(forged, { runId, output: '"forged"' });
        under.jetstream.notices.publishRun(notice, 'completed');
        await under.jetstream.connection.nats.flush();
        resolve();
      });
    });
    const answer = under.post('/v1/events?wait=300ms', event);
    await isTold;
    const { status, body } = await passing(300, answer);
    expect(status).toBe(202);
    expect(body.runs).toEqual([]);
  });

  test('forgets the wait when the client goes away', async () => {
    whenPublished(() => Promise.resolve());
    const gone = new AbortController();
    const request = under.post('/v1/events?wait=50s', event, { signal: gone.signal });
    const ended = expect(request).rejects.toThrow();
    await eventually(async () => expect(await openWaits()).toBe(1));
    gone.abort();
    await ended;
    await eventually(async () => expect(await openWaits()).toBe(0));
  });
});

test('what was accepted while NATS was away is stored, answered at once, and told by Postgres', async () => {
  await under.servers.nats.kill();
  await eventually(() => expect(under.jetstream.isConnected()).toBe(false));
  expect((await fetch(`${under.url}/readyz`)).status).toBe(503);
  const plain = await under.post('/v1/events', event);
  expect(plain.status).toBe(202);
  const waited = await passing(100, under.post('/v1/events?wait=100ms', event));
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
  const other = await startIngestUnderTest({ clock });
  await registerHello(other, other.acme.scope);
  const isRouted = new Promise<void>((resolve) => {
    other.onEvent((stored) => void route(other, stored).then(() => resolve()));
  });
  const answer = other.post('/v1/events?wait=50s', event);
  await isRouted;
  await other.stop();
  expect(await answer).toMatchObject({
    status: 200,
    body: { runs: [{ functionId: 'hello', status: 'queued' }] },
  });
}, 60_000);
