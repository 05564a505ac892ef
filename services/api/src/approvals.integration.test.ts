/** Approvals over HTTP: links, their pages, decisions by either way, and who may not. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { WaitsNotice } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
const told: WaitsNotice[] = [];

beforeAll(async () => {
  under = await startApiUnderTest();
  under.jetstream.notices.onWaits((notice) => told.push(notice), 'test');
}, 60_000);
afterAll(() => under.stop());

const post = (path: string, body: unknown, key?: string) =>
  under.request('POST', path, { body: JSON.stringify(body), ...(key === undefined ? {} : { key }) });
const decideByKey = (runId: string, body: object, key?: string) =>
  post(`/v1/runs/${runId}/approvals`, body, key);
const link = async (runId: string, name = 'manager') => {
  const { status, body } = await post(`/v1/runs/${runId}/approval-links`, { name });
  expect(status).toBe(201);
  return (body as { path: string }).path;
};
const page = async (path: string, form?: Record<string, string>) => {
  const answer = await fetch(under.url + path, {
    redirect: 'manual',
    ...(form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form) }),
  });
  return { status: answer.status, headers: answer.headers, html: await answer.text() };
};
const decisions = (runId: string) => under.platform.prisma.signal.findMany({ where: { runId } });
const newRun = async () => under.addRun(under.acme.scope);
const wait = (runId: string, name = 'manager') =>
  under.platform.prisma.wait.create({
    data: {
      ...{ runId, stepId: name, attempt: 1, environmentId: under.acme.scope.environmentId },
      ...{ kind: 'signal', name: `ironflow.approval:${name}`, place: 0 },
    },
  });

test('a link shows what is asked for, to open it decides nothing, and to send its form decides once', async () => {
  const { runId } = await newRun();
  const name = '<b>manager & "co"</b>';
  const path = await link(runId, name);
  for (let opened = 0; opened < 2; opened += 1) {
    const { status, html, headers } = await page(path);
    expect(status).toBe(200);
    expect(html).toContain('&lt;b&gt;manager &amp; &quot;co&quot;&lt;/b&gt;');
    expect(html).not.toContain('<b>');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toBe('no-store');
  }
  expect(await decisions(runId)).toEqual([]);

  expect(await page(path, { decision: 'approve', comment: 'go on' })).toMatchObject({ status: 200 });
  expect(await decisions(runId)).toMatchObject([
    {
      name: `ironflow.approval:${name}`,
      environmentId: under.acme.scope.environmentId,
      data: { approved: true, comment: 'go on', decidedAt: expect.any(String) },
    },
  ]);
  await eventually(() => expect(told).toContainEqual({ scope: under.acme.scope, runId }));
  expect((await page(path)).status).toBe(410);
  expect((await page(path, { decision: 'reject' })).status).toBe(410);
  expect(await decideByKey(runId, { name, approved: false })).toMatchObject({
    status: 409,
    body: { error: { code: 'approval_decided' } },
  });
  expect(await decisions(runId)).toHaveLength(1);
});

test('of many that decide at once one does, whichever link or key they have', async () => {
  const { runId } = await newRun();
  const links = await Promise.all([link(runId), link(runId), link(runId)]);
  const answers = await Promise.all([
    ...links.flatMap((path) => [page(path, { decision: 'approve' }), page(path, { decision: 'reject' })]),
    decideByKey(runId, { name: 'manager', approved: true }),
  ]);
  expect(answers.filter(({ status }) => status === 200 || status === 202)).toHaveLength(1);
  expect(await decisions(runId)).toHaveLength(1);
});

test('a key decides what a run waits for; sent again by its id that changes nothing', async () => {
  const { runId } = await newRun();
  await wait(runId);
  const id = newId();
  for (let sent = 0; sent < 2; sent += 1) {
    expect(await decideByKey(runId, { name: 'manager', approved: false, comment: 'no', id })).toMatchObject({
      status: 202,
      body: { id, approved: false },
    });
  }
  expect(await decisions(runId)).toMatchObject([{ id, data: { approved: false, comment: 'no' } }]);
  expect(await decideByKey(runId, { name: 'nobody', approved: true })).toMatchObject({
    status: 404,
    body: { error: { code: 'approval_not_found' } },
  });
});

test('what the run went past, or has ended without, is decided no more', async () => {
  const { eventId, runId } = await newRun();
  const path = await link(runId);
  const scope = under.acme.scope;
  const step = { id: 'manager', name: 'manager', type: 'wait_for_signal' as const, attempt: 1 };
  const awaited = { kind: 'signal' as const, signal: 'ironflow.approval:manager' };
  await under.progress(
    { scope, runId, eventId },
    {
      ...{ prev: 0, journalSeq: 1 },
      steps: [{ ...step, startedAtMs: 0, status: 'waiting', awaited, due: { inMs: 60_000 } }],
    },
    'quietly',
  );
  expect((await page(path)).status).toBe(200);
  const shown = await under.request('GET', `/v1/runs/${runId}`);
  expect(shown.body).toMatchObject({ approvals: [{ name: 'manager', dueAt: expect.any(String) }] });
  // Its time is up.
  await under.platform.prisma.wait.deleteMany({ where: { runId } });
  await under.platform.prisma.step.updateMany({ where: { runId }, data: { status: 'completed' } });
  expect((await page(path)).status).toBe(410);
  expect((await page(path, { decision: 'approve' })).status).toBe(410);
  expect(await decideByKey(runId, { name: 'manager', approved: true })).toMatchObject({
    body: { error: { code: 'approval_expired' } },
  });
  await under.progress({ scope, runId, eventId }, { prev: 1, journalSeq: 2, status: 'completed' }, 'quietly');
  expect((await page(path)).status).toBe(410);
  expect(await decideByKey(runId, { name: 'manager', approved: true })).toMatchObject({
    body: { error: { code: 'run_ended' } },
  });
  expect(await post(`/v1/runs/${runId}/approval-links`, { name: 'manager' })).toMatchObject({
    body: { error: { code: 'run_ended' } },
  });
  expect(await decisions(runId)).toEqual([]);
});

test('nobody decides by what is no link, by another environment’s key, or by a signal', async () => {
  const { runId } = await newRun();
  const path = await link(runId);
  const forged = `${path.slice(0, -1)}${path.endsWith('a') ? 'b' : 'a'}`;
  for (const wrong of [forged, '/v1/approvals/ifa_x', `/v1/approvals/${newId()}`]) {
    expect((await page(wrong)).status).toBe(404);
    expect((await page(wrong, { decision: 'approve' })).status).toBe(404);
  }
  const theirs = under.globex.apiKey;
  for (const answer of [
    await decideByKey(runId, { name: 'manager', approved: true }, theirs),
    await post(`/v1/runs/${runId}/approval-links`, { name: 'manager' }, theirs),
  ]) {
    expect(answer).toMatchObject({ status: 404, body: { error: { code: 'run_not_found' } } });
  }
  const signal = { name: 'ironflow.approval:manager', data: { approved: true } };
  expect((await post(`/v1/runs/${runId}/signals`, signal)).status).toBe(400);
  const viewer = await under.addKey(under.acme.scope, 'viewer');
  expect((await decideByKey(runId, { name: 'manager', approved: true }, viewer)).status).toBe(403);
  for (const form of [{}, { decision: 'maybe' }, { decision: 'approve', comment: 'x'.repeat(5_000) }]) {
    expect((await page(path, form as Record<string, string>)).status).toBe(400);
  }
  expect(await decisions(runId)).toEqual([]);
  expect((await page(path)).status).toBe(200);
});

test('the token of a link is kept nowhere, and in no log', async () => {
  const { runId } = await newRun();
  const path = await link(runId);
  await page(path);
  await page(path, { decision: 'reject' });
  const token = path.slice(path.lastIndexOf('/') + 1);
  expect(under.logged()).not.toContain(token);
  const kept = await under.platform.prisma.approvalLink.findMany({ where: { runId } });
  expect(kept).toHaveLength(1);
  expect(Buffer.from(kept[0]!.tokenHash).toString('latin1')).not.toContain(token);
  expect(JSON.stringify(await decisions(runId))).not.toContain(token);
});

test('an id decides one thing: sent again it changes nothing, and it is refused for another of the run', async () => {
  const { runId } = await newRun();
  for (const name of ['manager', 'boss']) await wait(runId, name);
  const id = newId();
  expect(await decideByKey(runId, { id, name: 'manager', approved: true })).toMatchObject({ status: 202 });
  expect(await decideByKey(runId, { id, name: 'manager', approved: true })).toMatchObject({ status: 202 });
  expect(await decideByKey(runId, { id, name: 'boss', approved: true })).toMatchObject({
    status: 409,
    body: { error: { code: 'idempotency_key_reused' } },
  });
  expect(await decisions(runId)).toHaveLength(1);
});

test('a link that was passed on with additions still leads to its page', async () => {
  const { runId } = await newRun();
  const path = await link(runId);
  expect((await page(`${path}?utm_source=mail`)).status).toBe(200);
  expect((await page(`${path}?fbclid=1`, { decision: 'approve' })).status).toBe(200);
});
