/** What requests leave in the audit log, over real PostgreSQL; and the log over HTTP. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDatabase } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { createManualClock, eventually } from '@ironflow/testing';
import { auditPageSchema, routes } from '@ironflow/schema';
import type { AuditEntry, AuditVerdict, Scope } from '@ironflow/schema';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { Answer, ApiUnderTest } from './testing/api-under-test.js';

const clock = createManualClock();
const minuteMs = 60_000;
let under: ApiUnderTest;
let owner: Database;

beforeAll(async () => {
  under = await startApiUnderTest({ clock });
  owner = createDatabase({ url: under.ownerUrl, applicationName: 'owner' });
}, 60_000);
afterAll(async () => {
  await owner.close();
  await under.stop();
});

async function entries(query = '', key = under.acme.apiKey): Promise<AuditEntry[]> {
  const answer = await under.request('GET', `/v1/audit?limit=200&${query}`, { key });
  expect(answer.status).toBe(200);
  return auditPageSchema.parse(answer.body).entries;
}

async function verdict(key = under.acme.apiKey): Promise<AuditVerdict> {
  const answer = await under.request('GET', '/v1/audit/verify', { key });
  expect(answer.status).toBe(200);
  return routes.verifyAudit.answers[200].schema.parse(answer.body);
}

async function keyIdOf({ environmentId }: Scope, role: string): Promise<string> {
  const found = await under.platform.prisma.apiKey.findFirstOrThrow({ where: { environmentId, role } });
  return found.id;
}

const asOwner = (text: string, values: unknown[] = []) => owner.query({ name: '', text }, values);

const codeOf = ({ body }: Answer): string => (body as { error: { code: string } }).error.code;

test('a change is in the log when it is answered: who, what, where from and which request', async () => {
  const response = await fetch(`${under.url}/v1/webhooks`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${under.acme.apiKey}`,
      'content-type': 'application/json',
      'x-request-id': 'request-7',
    },
    body: JSON.stringify({ id: 'hub', provider: 'github', secret: 'hunter2-hunter2' }),
  });
  expect(response.status).toBe(201);
  const [entry] = await entries('action=webhook.create');
  expect(entry).toMatchObject({
    environmentId: under.acme.scope.environmentId,
    actor: { kind: 'key', id: await keyIdOf(under.acme.scope, 'admin') },
    target: { kind: 'webhooks' },
    address: '127.0.0.1',
    requestId: 'request-7',
    outcome: 'done',
    count: 1,
    details: { fields: ['id', 'provider', 'secret'] },
  });
  await under.request('POST', '/v1/webhooks/hub/pause');
  const [paused] = await entries('action=webhook.pause');
  expect(paused).toMatchObject({ target: { kind: 'webhooks', id: 'hub' }, details: {} });
  expect(JSON.stringify(await entries())).not.toContain('hunter2');
});

test('what was refused, only counted or only read is no change', async () => {
  const before = (await verdict()).entries;
  expect(
    (await under.request('POST', '/v1/runs/cancel', { body: { dryRun: true, status: 'queued' } })).status,
  ).toBe(200);
  expect((await under.request('POST', '/v1/webhooks/nobodys/pause')).status).toBe(404);
  expect((await under.request('POST', '/v1/webhooks', { body: { id: 'x' } })).status).toBe(400);
  expect((await under.request('GET', '/v1/webhooks')).status).toBe(200);
  expect((await verdict()).entries).toBe(before);
  expect((await under.request('POST', '/v1/runs/cancel', { body: { status: 'queued' } })).status).toBe(200);
  const [cancelled] = await entries('action=runs.cancel');
  expect(cancelled).toMatchObject({ target: { kind: 'runs' }, details: { fields: ['status'], count: 0 } });
});

test('who decides by a link is the link, by a name that opens nothing; the token is in no entry', async () => {
  const { runId } = await under.addRun(under.acme.scope);
  const answer = await under.request('POST', `/v1/runs/${runId}/approval-links`, {
    body: { name: 'manager' },
  });
  const { path } = answer.body as { path: string };
  const body = new URLSearchParams({ decision: 'approve', comment: 'because of hunter2' });
  expect((await fetch(under.url + path, { method: 'POST', body })).status).toBe(200);
  const [decided] = await entries('action=approval.decide');
  const [made] = await entries('action=approval-link.create');
  expect(decided).toMatchObject({
    actor: { kind: 'link', id: made!.details['link'] },
    target: { kind: 'approvals', id: runId },
    details: { name: 'manager', approved: true },
  });
  // Sent again it decides nothing.
  await fetch(under.url + path, { method: 'POST', body });
  await fetch(`${under.url}/v1/approvals/ifa_nobodys`, { method: 'POST', body });
  expect(await entries('action=approval.decide')).toHaveLength(1);
  const log = JSON.stringify(await entries());
  expect(log).not.toContain(path.split('/').at(-1));
  expect(log).not.toContain('hunter2');
});

test('a change that the log did not take is answered 503 and logged, and it has happened', async () => {
  const signature = 'append_audit_entry(text, text, text, text, text, text, text, text, text, integer, text)';
  await asOwner(`revoke execute on function ${signature} from ironflow_tenant`);
  try {
    const answer = await under.request('POST', '/v1/environment/pause');
    expect([answer.status, codeOf(answer)]).toEqual([503, 'audit_unavailable']);
  } finally {
    await asOwner(`grant execute on function ${signature} to ironflow_tenant`);
  }
  expect(under.logged()).toContain('what was done is not in the audit log');
  expect((await under.request('GET', '/v1/environment')).body).toHaveProperty('pausedAt');
  expect(await entries('action=environment.pause')).toEqual([]);
  expect((await under.request('POST', '/v1/environment/resume')).status).toBe(200);
  expect(await entries('action=environment.resume')).toHaveLength(1);
});

test('what a key is refused is one entry a minute for each action and code, with how often', async () => {
  const viewer = await under.addKey(under.acme.scope, 'viewer');
  const viewerId = await keyIdOf(under.acme.scope, 'viewer');
  const theirs = await under.addRun(under.globex.scope);
  for (let time = 0; time < 5; time += 1) {
    const refused = await under.request('POST', '/v1/environment/pause', { key: viewer });
    expect(codeOf(refused)).toBe('role_insufficient');
    expect((await under.request('GET', `/v1/runs/${theirs.runId}`, { key: viewer })).status).toBe(404);
    expect((await under.request('GET', '/v1/runs', { key: 'ifk_wrong' })).status).toBe(401);
  }
  expect(await entries(`actor=${viewerId}`)).toEqual([]);
  await clock.advance(minuteMs);
  const refused = await eventually(async () => {
    const found = await entries(`actor=${viewerId}&outcome=refused&order=oldest`);
    if (found.length < 2) throw new Error(`there are ${found.length} entries`);
    return found;
  });
  expect(refused).toMatchObject([
    { action: 'environment.pause', target: { kind: 'environment' }, code: 'role_insufficient', count: 5 },
    { action: 'GET /v1/runs/:id', target: { kind: 'runs' }, code: 'run_not_found', count: 5 },
  ]);
  expect(refused.every(({ address }) => address === '127.0.0.1')).toBe(true);
  expect(JSON.stringify(refused)).not.toContain(theirs.runId);
});

test('the log is for admins of the environment, and has nothing of another', async () => {
  const developer = await under.addKey(under.acme.scope, 'developer');
  for (const path of ['/v1/audit', '/v1/audit/verify']) {
    expect((await under.request('GET', path, { key: developer })).status).toBe(403);
  }
  expect(await entries('', under.globex.apiKey)).toEqual([]);
  expect(await verdict(under.globex.apiKey)).toMatchObject({ ok: true, entries: 0 });
  const filtered = await entries(`actor=${await keyIdOf(under.acme.scope, 'admin')}`, under.globex.apiKey);
  expect(filtered).toEqual([]);
});

test('an entry that was changed behind the platform’s back is named', async () => {
  await under.request('POST', '/v1/webhooks/hub/resume');
  const good = await verdict();
  expect(good).toMatchObject({ ok: true, head: (await entries())[0]!.hash });
  const values = [under.acme.scope.environmentId, newId()];
  await asOwner('update audit_entries set actor_id = $2 where environment_id = $1 and sequence = 2', values);
  expect(await verdict()).toMatchObject({
    ok: false,
    entries: 1,
    firstBroken: { sequence: 2, reason: 'altered' },
  });
});
