/** Quotas of events, over real PostgreSQL and NATS; and what of ingest is in the audit log. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createAuditStore, createQuotaStore } from '@ironflow/database';
import { auditQuerySchema, quotaNames, subjects } from '@ironflow/schema';
import type { AuditEntry, Scope, SetQuotasBody } from '@ironflow/schema';
import { createManualClock, eventually } from '@ironflow/testing';
import { newId, registerHello, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { Answer, IngestUnderTest } from './testing/ingest-under-test.js';

const clock = createManualClock(Date.now());
let under: IngestUnderTest;
beforeAll(async () => {
  under = await startIngestUnderTest({ clock });
  await registerHello(under, under.acme.scope);
}, 60_000);
afterAll(() => under.stop());

async function setQuotas(scope: Scope, quotas: SetQuotasBody): Promise<void> {
  await createQuotaStore(under.platform).set(scope.environmentId, quotas);
  under.jetstream.notices.publishQuotas({ scope });
}

beforeEach(async () => {
  // Whatever was owed has passed.
  await clock.advance(3_600_000);
  await setQuotas(under.acme.scope, Object.fromEntries(quotaNames.map((name) => [name, null])));
  await eventually(async () => {
    const { status } = await emit();
    if (status !== 202) throw new Error(`it was answered ${status}`);
  });
});

const emit = (count = 1, key = under.acme.apiKey): Promise<Answer> =>
  under.post(
    '/v1/events',
    Array.from({ length: count }, () => ({ name: 'some.thing', data: { n: 1 } })),
    { key },
  );

async function refused(send: () => Promise<Answer>): Promise<Answer> {
  return eventually(async () => {
    const answer = await send();
    if (answer.status < 400) throw new Error(`it was answered ${answer.status}`);
    return answer;
  });
}

test('beyond the events of a second, and ten of them at once, is 429 with when to come again; a neighbour notices nothing', async () => {
  await setQuotas(under.acme.scope, { eventsPerSecond: 5 });
  const answer = await refused(() => emit(10));
  expect([answer.status, answer.body.error?.code]).toEqual([429, 'quota_exceeded']);
  expect(answer.body.error?.message).toContain('eventsPerSecond');
  const retryAfter = Number(answer.headers.get('retry-after'));
  expect(Number.isInteger(retryAfter) && retryAfter >= 1).toBe(true);
  expect((await under.post('/v1/invocations', { function: 'hello' })).status).toBe(202);
  const before = await under.countEvents(under.acme.scope);
  expect((await emit(10)).status).toBe(429);
  expect(await under.countEvents(under.acme.scope)).toBe(before);
  for (let time = 0; time < 10; time += 1) expect((await emit(100, under.globex.apiKey)).status).toBe(202);
  await clock.advance((retryAfter + 1) * 1_000);
  expect((await emit(10)).status).toBe(202);
});

test('more events in one request than come at once are taken when nothing is owed', async () => {
  await setQuotas(under.acme.scope, { eventsPerSecond: 1 });
  await refused(() => emit(20));
  await clock.advance(3_600_000);
  expect((await emit(100)).status).toBe(202);
  expect((await emit(1)).status).toBe(429);
});

test('data beyond the quota is refused, and no waiting helps', async () => {
  await setQuotas(under.acme.scope, { payloadBytes: 5 });
  const answer = await refused(() => emit());
  expect([answer.status, answer.body.error?.code]).toEqual([413, 'quota_exceeded']);
  expect(answer.headers.get('retry-after')).toBeNull();
});

test('with as many runs queued as may be, no events are taken', async () => {
  const { platform, acme } = under;
  await setQuotas(acme.scope, { queuedRuns: 1 });
  expect((await emit()).status).toBe(202);
  await platform.query(
    {
      name: '',
      text: `insert into runs (id, environment_id, event_id, app_id, function_id, function_hash, mode, status, correlation_id)
        values ($1, $2, $1, 'app', 'hello', 'hash', 'pull', 'queued', 'c')`,
    },
    [newId(), acme.scope.environmentId],
  );
  under.jetstream.notices.publishQuotas({ scope: acme.scope });
  const answer = await refused(() => emit());
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([429, '5']);
  expect(answer.body.error?.message).toContain('queuedRuns');
});

test('what is repeated, replayed or fired by hand is in the audit log, and what is emitted is not', async () => {
  const { scope, apiKey: key } = under.globex;
  const entries = async (): Promise<AuditEntry[]> =>
    (await createAuditStore(under.platform).list(scope.environmentId, auditQuerySchema.parse({}))).entries;
  expect((await emit(1, key)).status).toBe(202);
  expect(await entries()).toEqual([]);
  const body = { status: 'failed', from: '2020-01-01T00:00:00Z' };
  expect((await under.post('/v1/runs/rerun', { ...body, dryRun: true }, { key })).status).toBe(200);
  expect(await entries()).toEqual([]);
  expect((await under.post('/v1/runs/rerun', body, { key })).status).toBe(202);
  expect(await entries()).toMatchObject([
    {
      action: 'runs.rerun',
      actor: { kind: 'key' },
      target: { kind: 'runs' },
      details: { fields: ['from', 'status'], count: 0 },
    },
  ]);
});

test('what comes over NATS with credentials of an environment counts as well', async () => {
  const send = async (scope: Scope): Promise<unknown> => {
    const subject = subjects.directIngest(scope, 'some.thing');
    const reply = await under.jetstream.connection.request({ subject, data: '"longer than ten"' });
    return reply.kind === 'message' ? JSON.parse(Buffer.from(reply.data).toString()) : reply.kind;
  };
  const taken = { stream: 'INGEST', seq: expect.any(Number) };
  expect(await send(under.acme.scope)).toEqual(taken);
  await setQuotas(under.acme.scope, { payloadBytes: 10 });
  await eventually(async () =>
    expect(await send(under.acme.scope)).toMatchObject({
      ...{ seq: 0, error: { code: 429, description: expect.stringContaining('payloadBytes') } },
    }),
  );
  expect(await send(under.globex.scope)).toEqual(taken);
});
