import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { registerApp } from '@ironflow/database';
import { deriveRunId } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { complete, newId, registerHello, route, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest, PostOptions } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
const published: StoredEvent[] = [];

beforeAll(async () => {
  under = await startIngestUnderTest();
  under.onEvent((event) => published.push(event));
  await registerHello(under, under.acme.scope);
}, 60_000);
afterAll(() => under.stop());

const mark = 'PAYLOAD-THAT-NOBODY-MAY-LOG';

async function publishedEvent(id: string): Promise<StoredEvent> {
  return eventually(() => {
    const event = published.find((candidate) => candidate.id === id);
    if (event === undefined) throw new Error('it is not published yet');
    return event;
  });
}

async function startedRun(): Promise<{ runId: string; event: StoredEvent }> {
  const sent = { name: 'user.created', data: { mark }, version: '2', correlationId: 'root' };
  const { body } = await under.post('/v1/events', sent);
  const event = await publishedEvent(body.ids![0]!);
  return { runId: await route(under, event), event };
}

async function endedRun(): Promise<{ runId: string; event: StoredEvent }> {
  const started = await startedRun();
  await complete(under, started.event, { runId: started.runId, output: '1' });
  return started;
}

const rerun = (runId: string, body: unknown = {}, options?: PostOptions) =>
  under.post(`/v1/runs/${runId}/rerun`, body, options);

test('a run that has ended is repeated by an event like its own, for its function alone', async () => {
  const { runId, event } = await endedRun();
  const { status, body } = await rerun(runId);
  expect(status).toBe(202);
  const { environmentId } = under.acme.scope;
  expect(body).toEqual({
    eventId: expect.any(String),
    runId: deriveRunId({ environmentId, eventId: body.eventId!, functionId: 'hello' }),
  });
  expect(await publishedEvent(body.eventId!)).toMatchObject({
    scope: under.acme.scope,
    name: 'user.created',
    data: event.data,
    version: '2',
    source: 'rerun',
    correlationId: 'root',
    causationId: event.id,
    functionId: 'hello',
    rerunOf: runId,
  });
  const row = await under.platform.prisma.event.findFirstOrThrow({ where: { id: body.eventId! } });
  expect(row).toMatchObject({ source: 'rerun', functionId: 'hello', rerunOf: runId, rerunFromStep: null });
});

test('other data takes the place of the event’s, also null', async () => {
  const { runId } = await endedRun();
  for (const data of [null, { n: 1 }]) {
    const { body } = await rerun(runId, { data });
    expect(JSON.parse((await publishedEvent(body.eventId!)).data)).toEqual(data);
  }
});

test('a body is not needed', async () => {
  const { runId } = await endedRun();
  const authorization = `Bearer ${under.acme.apiKey}`;
  const url = `${under.url}/v1/runs/${runId}/rerun`;
  expect((await fetch(url, { method: 'POST', headers: { authorization } })).status).toBe(202);
});

test('the same idempotency key answers the first event and run', async () => {
  const { runId } = await endedRun();
  const keyed = { idempotencyKey: newId() };
  const first = await rerun(runId, keyed);
  expect((await rerun(runId, keyed)).body).toEqual(first.body);
  const other = await endedRun();
  expect(await rerun(other.runId, keyed)).toMatchObject({
    status: 409,
    body: { error: { code: 'idempotency_key_reused' } },
  });
});

test('a run that has not ended is not repeated', async () => {
  const { runId } = await startedRun();
  expect(await rerun(runId)).toMatchObject({ status: 409, body: { error: { code: 'run_not_ended' } } });
});

test('a step that the run does not have is not found', async () => {
  const { runId } = await endedRun();
  expect(await rerun(runId, { fromStep: 'charge' })).toMatchObject({
    status: 404,
    body: { error: { code: 'step_not_found', field: 'fromStep' } },
  });
});

test("a neighbour's run is as unknown as any", async () => {
  await registerHello(under, under.globex.scope);
  const { runId } = await endedRun();
  const before = await under.countEvents(under.globex.scope);
  const key = under.globex.apiKey;
  const [stranger, unknown] = [await rerun(runId, {}, { key }), await rerun(newId(), {}, { key })];
  expect(stranger).toMatchObject({ status: 404, body: { error: { code: 'run_not_found' } } });
  expect(stranger.body).toEqual(unknown.body);
  expect(await under.countEvents(under.globex.scope)).toBe(before);
});

test('a viewer may not repeat a run, and what is refused names its rule but no payload', async () => {
  const { runId } = await endedRun();
  const key = await under.addKey(under.acme.scope, 'viewer');
  expect((await rerun(runId, {}, { key })).status).toBe(403);
  const refused = await rerun(runId, { data: mark + 'x'.repeat(512 * 1024) });
  expect(refused).toMatchObject({
    status: 413,
    body: { error: { code: 'event_data_too_large', field: 'data' } },
  });
  expect((await rerun(runId, { input: mark })).status).toBe(400);
  expect(under.logged()).not.toContain(mark);
});

test('once its function is registered no more a run cannot be repeated', async () => {
  const { runId } = await endedRun();
  const { environmentId } = under.acme.scope;
  await registerApp(under.platform, environmentId, { id: 'app', mode: 'pull', functions: [] });
  await under.jetstream.bucket('SYS_functions').put(environmentId, '{}');
  const gone = { status: 404, body: { error: { code: 'function_not_found' } } };
  await eventually(async () => expect(await rerun(runId)).toMatchObject(gone));
});
