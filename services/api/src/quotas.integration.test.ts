/** Quotas over HTTP, and that of requests, over real PostgreSQL and NATS. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { defaultQuotas, quotasSchema } from '@ironflow/schema';
import type { QuotasResource } from '@ironflow/schema';
import { createManualClock, eventually } from '@ironflow/testing';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

const clock = createManualClock();
let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest({ clock });
}, 60_000);
afterAll(() => under.stop());

async function shown(key = under.acme.apiKey): Promise<QuotasResource> {
  const answer = await under.request('GET', '/v1/quotas', { key });
  expect(answer.status).toBe(200);
  return quotasSchema.parse(answer.body);
}

const put = (body: unknown, key = under.operatorKey) => {
  const { project, env } = under.acme.scope;
  return under.request('PUT', `/v1/tenants/${project}/${env}/quotas`, { body, key });
};
const ask = () => fetch(`${under.url}/v1/me`, { headers: { authorization: `Bearer ${under.acme.apiKey}` } });

test('quotas are shown to whoever may look, with what is used, and set by operators alone', async () => {
  const viewer = await under.addKey(under.acme.scope, 'viewer');
  await under.addRun(under.acme.scope);
  expect(await shown(viewer)).toMatchObject({
    eventsPerSecond: { limit: defaultQuotas.eventsPerSecond, isDefault: true, used: 0.1 },
    queuedRuns: { limit: defaultQuotas.queuedRuns, isDefault: true, used: 1 },
    storageBytes: { used: 0 },
  });
  expect((await put({ queuedRuns: 5 }, under.acme.apiKey)).status).toBe(403);
  const set = await put({ queuedRuns: 5, payloadBytes: 1_000 });
  expect(set).toMatchObject({ status: 200, body: { queuedRuns: { limit: 5, isDefault: false } } });
  expect((await put({ queuedRuns: null })).status).toBe(200);
  expect(await shown()).toMatchObject({
    queuedRuns: { limit: defaultQuotas.queuedRuns, isDefault: true },
    payloadBytes: { limit: 1_000, isDefault: false },
  });
  expect((await shown(under.globex.apiKey)).payloadBytes.isDefault).toBe(true);
});

test('what is no quota is refused by its name', async () => {
  for (const [field, value] of [
    ['queuedRuns', 0],
    ['eventsPerSecond', 1.5],
    ['payloadBytes', defaultQuotas.payloadBytes + 1],
    ['storageBytes', '7'],
  ]) {
    const answer = await put({ [String(field)]: value });
    expect(answer).toMatchObject({ status: 400, body: { error: { field } } });
  }
  expect((await put({ steps: 1 })).status).toBe(400);
});

test('beyond the requests of a second, and ten of them at once, is 429 until their time has come; a neighbour notices nothing', async () => {
  expect((await put({ requestsPerSecond: 1 })).status).toBe(200);
  const refused = await eventually(async () => {
    const answer = await ask();
    if (answer.status !== 429) throw new Error(`it was answered ${answer.status}`);
    return answer;
  });
  expect(await refused.json()).toMatchObject({ error: { code: 'quota_exceeded' } });
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  for (let time = 0; time < 20; time += 1) {
    expect((await under.request('GET', '/v1/me', { key: under.globex.apiKey })).status).toBe(200);
  }
  await clock.advance(Number(refused.headers.get('retry-after')) * 1_000);
  expect((await ask()).status).toBe(200);
  expect((await ask()).status).toBe(429);
  await clock.advance(1_000);
  expect((await put({ requestsPerSecond: null })).status).toBe(200);
  await eventually(async () => {
    for (let time = 0; time < 20; time += 1) {
      const { status } = await ask();
      if (status !== 200) throw new Error(`it was answered ${status}`);
    }
  });
});
