/** Retention over HTTP, over real PostgreSQL and NATS. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { auditPageSchema, retentionSchema } from '@ironflow/schema';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 60_000);
afterAll(() => under.stop());

const put = (body: unknown, key = under.acme.apiKey) => under.request('PUT', '/v1/retention', { body, key });
const shown = async (key = under.acme.apiKey) => {
  const answer = await under.request('GET', '/v1/retention', { key });
  expect(answer.status).toBe(200);
  return retentionSchema.parse(answer.body);
};

test('is shown to whoever may look, set by admins, and each environment’s own', async () => {
  const viewer = await under.addKey(under.acme.scope, 'viewer');
  const developer = await under.addKey(under.acme.scope, 'developer');
  expect(await shown(viewer)).toEqual({ days: null });
  expect((await put({ days: 30 }, developer)).status).toBe(403);
  expect(await put({ days: 30 })).toMatchObject({ status: 200, body: { days: 30 } });
  expect([await shown(viewer), await shown(under.globex.apiKey)]).toEqual([{ days: 30 }, { days: null }]);
  expect(await put({ days: null })).toMatchObject({ status: 200, body: { days: null } });
  const log = await under.request('GET', '/v1/audit?action=retention.set');
  const { entries } = auditPageSchema.parse(log.body);
  expect(entries.filter(({ outcome }) => outcome === 'done')).toHaveLength(2);
});

test('what is no number of days is refused by name', async () => {
  for (const days of [0, 1, 1.5, 36_501, '30', undefined]) {
    expect(await put({ days })).toMatchObject({ status: 400, body: { error: { field: 'days' } } });
  }
  expect((await put({ days: 30, weeks: 1 })).status).toBe(400);
});
