import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

const secret = 'payload-that-nobody-may-repeat';

interface BadRequest {
  name: string;
  method?: string;
  path: string | (() => string);
  headers?: Record<string, string>;
  body?: string | (() => string);
  status: number;
  code: string;
  /** What the message has to say of the rule. */
  rule: RegExp;
  field?: string;
}

let world: PlatformUnderTest;
let tenant: Tenant;
let othersRunId: string;
let othersEventId: string;

const json = (value: unknown) => JSON.stringify(value);
const event = (part: object) => json({ name: 'order.placed', data: { secret }, ...part });
const app = (part: object) =>
  json({ id: 'refused', mode: 'pull', functions: [{ id: 'one', triggers: [], ...part }] });
const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

const badRequests: BadRequest[] = [
  {
    name: 'malformed JSON',
    path: '/v1/events',
    body: `{"name": "order.placed", "data": {"secret": "${secret}"`,
    status: 400,
    code: 'malformed_json',
    rule: /not valid JSON/,
  },
  { name: 'an empty body', path: '/v1/events', body: '', status: 400, code: 'malformed_json', rule: /empty/ },
  {
    name: 'a body that is no JSON by its type',
    path: '/v1/events',
    headers: { 'content-type': 'text/plain' },
    body: secret,
    status: 415,
    code: 'unsupported_media_type',
    rule: /application\/json/,
  },
  {
    name: '513 KiB of data',
    path: '/v1/events',
    body: () => event({ data: `${secret}${'x'.repeat(513 * 1024 - 2 - secret.length)}` }),
    status: 413,
    code: 'event_data_too_large',
    rule: /524288 bytes \(512 KiB\)/,
    field: 'data',
  },
  {
    name: 'data that is too large in the middle of a batch',
    path: '/v1/events',
    body: () => `[${event({})},${event({ data: 'é'.repeat(300 * 1024) })},${event({})}]`,
    status: 413,
    code: 'event_data_too_large',
    rule: /512 KiB/,
    field: '[1].data',
  },
  {
    name: 'a body above 16 MiB',
    path: '/v1/events',
    body: () => `[${Array.from({ length: 40 }, () => event({ data: 'x'.repeat(500 * 1024) })).join(',')}]`,
    status: 413,
    code: 'body_too_large',
    rule: /limit of 16777216 bytes/,
  },
  {
    name: 'data that nests too deep',
    path: '/v1/events',
    body: `{"name":"order.placed","data":${nested(300)}}`,
    status: 400,
    code: 'event_data_too_deep',
    rule: /deeper than 256 levels/,
    field: 'data',
  },
  {
    name: 'an illegal event name',
    path: '/v1/events',
    body: event({ name: `order placed ${secret}` }),
    status: 400,
    code: 'invalid_request',
    rule: /dot-separated tokens of A-Z, a-z, 0-9, "_" and "-"/,
    field: 'name',
  },
  {
    name: 'a wildcard as an event name',
    path: '/v1/events',
    body: event({ name: 'order.*' }),
    status: 400,
    code: 'invalid_request',
    rule: /dot-separated tokens/,
    field: 'name',
  },
  {
    name: 'an event name of nine tokens',
    path: '/v1/events',
    body: event({ name: 'a.b.c.d.e.f.g.h.i' }),
    status: 400,
    code: 'invalid_request',
    rule: /at most 8 dot-separated tokens/,
    field: 'name',
  },
  {
    name: 'a name that is reserved for the platform',
    path: '/v1/events',
    body: event({ name: 'ironflow.cron.some-function' }),
    status: 400,
    code: 'invalid_request',
    rule: /reserved for the platform/,
    field: 'name',
  },
  {
    name: 'an event without a name',
    path: '/v1/events',
    body: json({ data: { secret } }),
    status: 400,
    code: 'invalid_request',
    rule: /expected string/,
    field: 'name',
  },
  {
    name: 'a field that an event does not have',
    path: '/v1/events',
    body: event({ payload: secret }),
    status: 400,
    code: 'invalid_request',
    rule: /is not a known field/,
    field: 'payload',
  },
  {
    name: '1,001 events',
    path: '/v1/events',
    body: () => `[${Array.from({ length: 1_001 }, () => event({})).join(',')}]`,
    status: 400,
    code: 'invalid_request',
    rule: /at most 1000 events/,
  },
  {
    name: 'no events',
    path: '/v1/events',
    body: '[]',
    status: 400,
    code: 'invalid_request',
    rule: />=1|at least|small/i,
  },
  {
    name: 'one bad event among good ones',
    path: '/v1/events',
    body: `[${event({})},${event({ name: '' })}]`,
    status: 400,
    code: 'invalid_request',
    rule: /dot-separated tokens/,
    field: '[1].name',
  },
  {
    name: 'an idempotency key with a NUL',
    path: '/v1/events',
    body: event({ idempotencyKey: `key\u0000${secret}` }),
    status: 400,
    code: 'invalid_request',
    rule: /U\+0000/,
    field: 'idempotencyKey',
  },
  {
    name: 'a wait of more than a minute',
    path: '/v1/events?wait=61s',
    body: event({}),
    status: 400,
    code: 'invalid_request',
    rule: /at most 60 seconds/,
    field: 'wait',
  },
  {
    name: 'a wait that is no duration',
    path: '/v1/events?wait=soon',
    body: event({}),
    status: 400,
    code: 'invalid_request',
    rule: /duration such as "30s"/,
    field: 'wait',
  },
  {
    name: 'an unknown function',
    path: '/v1/invocations',
    body: json({ function: 'nobody', data: { secret } }),
    status: 404,
    code: 'function_not_found',
    rule: /no active function of that id/,
    field: 'function',
  },
  {
    name: 'a function id that breaks the grammar',
    path: '/v1/invocations',
    body: json({ function: `no such ${secret}`, data: { secret } }),
    status: 400,
    code: 'invalid_request',
    rule: /1 to 128 of A-Z/,
    field: 'function',
  },
  {
    name: 'a wrong key',
    path: '/v1/events',
    headers: { authorization: `Bearer ifk_${'x'.repeat(40)}` },
    body: event({}),
    status: 401,
    code: 'api_key_invalid',
    rule: /key/,
  },
  {
    name: 'no key',
    path: '/v1/events',
    headers: { authorization: '' },
    body: event({}),
    status: 401,
    code: 'api_key_invalid',
    rule: /key/,
  },
  {
    name: 'another environment’s run id',
    method: 'GET',
    path: () => `/v1/runs/${othersRunId}`,
    status: 404,
    code: 'run_not_found',
    rule: /no run of that id in this environment/,
  },
  {
    name: 'another environment’s run id, watched',
    method: 'GET',
    path: () => `/v1/runs/${othersRunId}/watch`,
    status: 404,
    code: 'run_not_found',
    rule: /no run of that id in this environment/,
  },
  {
    name: 'another environment’s event id',
    method: 'GET',
    path: () => `/v1/events/${othersEventId}`,
    status: 404,
    code: 'event_not_found',
    rule: /no event of that id in this environment/,
  },
  {
    name: 'a run id that is none',
    method: 'GET',
    path: `/v1/runs/${secret}`,
    status: 400,
    code: 'invalid_request',
    rule: /lower-case UUID/,
    field: 'id',
  },
  {
    name: 'a filter that does not exist',
    method: 'GET',
    path: `/v1/runs?stauts=${secret}`,
    status: 400,
    code: 'invalid_request',
    rule: /is not a known field/,
    field: 'stauts',
  },
  {
    name: 'a status that does not exist',
    method: 'GET',
    path: `/v1/runs?status=${secret}`,
    status: 400,
    code: 'invalid_request',
    rule: /"queued"/,
    field: 'status',
  },
  {
    name: 'a cursor that was made up',
    method: 'GET',
    path: `/v1/runs?cursor=${secret}`,
    status: 400,
    code: 'cursor_invalid',
    rule: /nextCursor/,
    field: 'cursor',
  },
  {
    name: 'a route that does not exist',
    path: `/v1/${secret}`,
    body: event({}),
    status: 404,
    code: 'route_not_found',
    rule: /no such route/,
  },
  {
    name: 'an app with a condition that is no CEL',
    method: 'PUT',
    path: '/v1/apps/refused',
    body: app({ triggers: [{ event: 'order.placed', if: 'event.data.total >' }] }),
    status: 400,
    code: 'app_invalid',
    rule: /must be valid CEL/,
    field: 'functions[0].triggers[0].if',
  },
  {
    name: 'an app with a schedule that never fires',
    method: 'PUT',
    path: '/v1/apps/refused',
    body: app({ triggers: [{ cron: '0 0 31 2 *' }] }),
    status: 400,
    code: 'app_invalid',
    rule: /time at which it fires/,
    field: 'functions[0].triggers[0].cron',
  },
  {
    name: 'an app with retries beyond the limit',
    method: 'PUT',
    path: '/v1/apps/refused',
    body: app({ retries: { attempts: 1_000 } }),
    status: 400,
    code: 'invalid_request',
    rule: /100/,
    field: 'functions[0].retries.attempts',
  },
];

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  const neighbour = await world.createTenant('neighbour', 'dev');
  await neighbour.startWorker('theirs', [createFunction({ id: 'theirs', triggers: [] }, () => 'theirs')]);
  const { ids, runs } = await neighbour.client.invoke('theirs', null, { wait: '15s' });
  othersEventId = ids[0]!;
  othersRunId = runs![0]!.id;
  await tenant.startWorker('ours', [
    createFunction({ id: 'ours', triggers: [{ event: 'order.>' }] }, () => 'ours'),
  ]);
}, 60_000);
afterAll(() => world?.stop(), 30_000);

test.each(badRequests)('$name: refused with the rule, nothing stored, nothing repeated', async (bad) => {
  const rowsBefore = await countRows();
  const { status, text } = await send(bad);
  const { error } = JSON.parse(text) as { error: { code: string; message: string; field?: string } };
  expect({ status, code: error.code, field: error.field }).toEqual({
    status: bad.status,
    code: bad.code,
    field: bad.field,
  });
  expect(error.message).toMatch(bad.rule);
  expect(text).not.toContain(secret);
  expect(await countRows()).toEqual(rowsBefore);
});

test('what is at the limit is taken', async () => {
  const largest = 'x'.repeat(512 * 1024 - 2);
  const { runs } = await tenant.client.emit({ name: 'order.large', data: largest }, { wait: '15s' });
  expect(runs).toMatchObject([{ status: 'completed', output: 'ours' }]);
  const { ids } = await tenant.client.emit(
    Array.from({ length: 1_000 }, (_, n) => ({ name: 'no.trigger', data: n })),
  );
  expect(new Set(ids).size).toBe(1_000);
});

test('no log of any service has anything of a payload', () => {
  expect(world.logs()).toContain('"service":"ingest"');
  expect(world.logs()).not.toContain(secret);
  expect(world.logs()).not.toContain(tenant.apiKey);
});

async function send(bad: BadRequest): Promise<{ status: number; text: string }> {
  const path = typeof bad.path === 'string' ? bad.path : bad.path();
  const body = typeof bad.body === 'function' ? bad.body() : bad.body;
  const headers = {
    authorization: `Bearer ${tenant.apiKey}`,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...bad.headers,
  };
  const response = await fetch(`${world.platform.url}${path}`, {
    method: bad.method ?? 'POST',
    headers,
    ...(body === undefined ? {} : { body }),
  });
  return { status: response.status, text: await response.text() };
}

const tables = ['events', 'unrouted_events', 'idempotency_keys', 'runs', 'apps', 'functions', 'schedules'];

async function countRows(): Promise<Record<string, number>> {
  const counts = tables.map((table) => `(select count(*)::int from ${table}) as ${table}`);
  const [row] = await world.query<Record<string, number>>(`select ${counts.join(', ')}`);
  return row!;
}
