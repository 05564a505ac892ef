import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { registerApp } from '@ironflow/database';
import { routes, subjects } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { registerHello, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest, PostOptions } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
let viewerKey: string;
beforeAll(async () => {
  under = await startIngestUnderTest();
  viewerKey = await under.addKey(under.acme.scope, 'viewer');
  await registerHello(under, under.acme.scope);
}, 60_000);
afterAll(() => under.stop());

const mark = 'PAYLOAD-THAT-NOBODY-MAY-LOG';
const event = { name: 'user.created', data: { mark } };
const kibibytes = (count: number): string => mark + 'x'.repeat(count * 1024 - mark.length);

interface BadInput {
  what: string;
  path?: string;
  body: unknown;
  options?: PostOptions;
  status: number;
  code: string;
  field?: string;
}

const badInputs: BadInput[] = [
  {
    what: 'malformed JSON',
    body: `{"name":"${mark}`,
    options: { raw: true },
    status: 400,
    code: 'malformed_json',
  },
  { what: 'an empty body', body: '', options: { raw: true }, status: 400, code: 'malformed_json' },
  {
    what: 'another media type',
    body: mark,
    options: { raw: true, headers: { 'content-type': 'text/plain' } },
    status: 415,
    code: 'unsupported_media_type',
  },
  {
    what: '513 KiB of data',
    body: { name: 'a', data: kibibytes(513) },
    status: 413,
    code: 'event_data_too_large',
    field: 'data',
  },
  {
    what: 'an illegal name',
    body: { name: `a b ${mark}` },
    status: 400,
    code: 'invalid_request',
    field: 'name',
  },
  { what: 'a wildcard as name', body: { name: 'a.*' }, status: 400, code: 'invalid_request', field: 'name' },
  {
    what: 'a reserved name',
    body: { name: 'ironflow.x' },
    status: 400,
    code: 'invalid_request',
    field: 'name',
  },
  {
    what: 'a name of nine tokens',
    body: { name: 'a.b.c.d.e.f.g.h.i' },
    status: 400,
    code: 'invalid_request',
    field: 'name',
  },
  { what: 'no name', body: { data: mark }, status: 400, code: 'invalid_request', field: 'name' },
  {
    what: 'an unknown field',
    body: { name: 'a', dat: mark },
    status: 400,
    code: 'invalid_request',
    field: 'dat',
  },
  { what: '1,001 events', body: Array(1_001).fill(event), status: 400, code: 'invalid_request' },
  { what: 'no events', body: [], status: 400, code: 'invalid_request' },
  {
    what: 'one bad event among good ones',
    body: [event, event, { name: 'ironflow.cron.x' }],
    status: 400,
    code: 'invalid_request',
    field: '[2].name',
  },
  {
    what: 'NUL in an idempotency key',
    body: { ...event, idempotencyKey: 'a\u0000' },
    status: 400,
    code: 'invalid_request',
    field: 'idempotencyKey',
  },
  {
    what: 'an unknown query parameter',
    path: '/v1/events?wiat=3s',
    body: event,
    status: 400,
    code: 'invalid_request',
  },
  { what: 'a wait too long', path: '/v1/events?wait=61s', body: event, status: 400, code: 'invalid_request' },
  { what: 'a wrong key', body: event, options: { key: `ifk_${mark}` }, status: 401, code: 'api_key_invalid' },
  {
    what: 'no key',
    body: event,
    options: { headers: { authorization: '' } },
    status: 401,
    code: 'api_key_invalid',
  },
  {
    what: 'an unknown function',
    path: '/v1/invocations',
    body: { function: 'nothing', data: mark },
    status: 404,
    code: 'function_not_found',
    field: 'function',
  },
  {
    what: '513 KiB for a function',
    path: '/v1/invocations',
    body: { function: 'hello', data: kibibytes(513) },
    status: 413,
    code: 'event_data_too_large',
    field: 'data',
  },
  {
    what: 'a body above 16 MiB',
    body: Array(40).fill({ name: 'a', data: kibibytes(500) }),
    status: 413,
    code: 'body_too_large',
  },
];

describe('bad input', () => {
  test.each(badInputs)(
    '$what is refused with $status $code',
    async ({ path, body, options, status, code, field }) => {
      const answer = await under.post(path ?? '/v1/events', body, options);
      expect(answer.status).toBe(status);
      expect(answer.body.error?.code).toBe(code);
      expect(answer.body.error?.message).not.toBe('');
      if (field !== undefined) expect(answer.body.error?.field).toBe(field);
      expect(JSON.stringify(answer.body)).not.toContain(mark);
    },
  );

  test('a viewer may not emit', async () => {
    const answer = await under.post('/v1/events', event, { key: viewerKey });
    expect(answer).toMatchObject({ status: 403, body: { error: { code: 'role_insufficient' } } });
  });

  test("another environment's function is as unknown as any", async () => {
    const answer = await under.post('/v1/invocations', { function: 'hello' }, { key: under.globex.apiKey });
    expect(answer).toMatchObject({ status: 404, body: { error: { code: 'function_not_found' } } });
  });

  test('names the limit that was exceeded', async () => {
    const tooLarge = await under.post('/v1/events', { name: 'a', data: kibibytes(513) });
    expect(tooLarge.body.error?.message).toContain('524288 bytes (512 KiB)');
    const tooMany = await under.post('/v1/events', Array(1_001).fill(event));
    expect(tooMany.body.error?.message).toContain('1000');
  });

  test('stores nothing and leaves nothing of the payload in the logs', async () => {
    expect(await under.countEvents(under.acme.scope)).toBe(0);
    expect(await under.countEvents(under.globex.scope)).toBe(0);
    expect(under.logged()).not.toContain(mark);
    expect(under.logged()).not.toContain(under.acme.apiKey);
  });
});

describe('an accepted event', () => {
  test('is stored when it is answered, and then published with its headers', async () => {
    const published: StoredEvent[] = [];
    const stopListening = under.onEvent((stored) => published.push(stored));
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const sent = { ...event, version: '2', correlationId: 'order 7' };
    const answer = await under.post('/v1/events', sent, { headers: { traceparent } });
    expect(answer.status).toBe(202);
    const id = answer.body.ids![0]!;
    const row = await under.platform.prisma.event.findFirstOrThrow({ where: { id } });
    expect(row).toMatchObject({ name: sent.name, correlationId: 'order 7', version: '2', source: 'http' });
    const [stored] = await eventually(() => {
      expect(published).toHaveLength(1);
      return published;
    });
    stopListening();
    expect(stored).toMatchObject({ id, scope: under.acme.scope, data: JSON.stringify(event.data) });
    expect(stored!.receivedAtMs).toBe(row.receivedAt.getTime());
    expect(stored!.traceparent).toMatch(/^00-a{32}-(?!b{16})[0-9a-f]{16}-01$/);
    expect(stored!.awaited).toBeUndefined();
  });

  test('keeps keys that are special in JavaScript', async () => {
    const raw = '{"name":"user.created","data":{"__proto__":{"a":1},"constructor":{"prototype":1}}}';
    const answer = await under.post('/v1/events', raw, { raw: true });
    expect(answer.status).toBe(202);
    const [row] = await under.platform.prisma.$queryRaw<{ data: string }[]>`
      select data::text from events where id = ${answer.body.ids![0]}::uuid`;
    expect(row!.data).toBe('{"__proto__":{"a":1},"constructor":{"prototype":1}}');
  });

  test('may be as large as the limit, hold any character and come a thousand at a time', async () => {
    const hard = { text: '\u0000 \ud800 "\\ €', list: [null, 1e300, ''] };
    const large = kibibytes(512).slice(0, 512 * 1024 - 2);
    const batch = [
      { name: 'a', data: hard },
      { name: 'a', data: large },
      ...Array.from({ length: 998 }, () => ({ name: 'b' })),
    ];
    const before = await under.countEvents(under.acme.scope);
    const answer = await under.post('/v1/events', batch);
    expect(answer.status).toBe(202);
    expect(new Set(answer.body.ids)).toHaveProperty('size', 1_000);
    expect(await under.countEvents(under.acme.scope)).toBe(before + 1_000);
    const [row] = await under.platform.prisma.$queryRaw<{ data: string }[]>`
      select data::text from events where id = ${answer.body.ids![0]}::uuid`;
    expect(JSON.parse(row!.data)).toEqual(hard);
  });

  test('of an invocation goes to its function under a name of the platform', async () => {
    const answer = await under.post('/v1/invocations', { function: 'hello', data: 1 });
    expect(answer.status).toBe(202);
    const row = await under.platform.prisma.event.findFirstOrThrow({ where: { id: answer.body.ids![0]! } });
    expect(row).toMatchObject({ name: 'ironflow.invoke.hello', source: 'invoke' });
  });

  test('a function can be invoked as soon as it is registered', async () => {
    expect(
      (await under.post('/v1/invocations', { function: 'hello' }, { key: under.globex.apiKey })).status,
    ).toBe(404);
    await registerHello(under, under.globex.scope);
    expect(
      (await under.post('/v1/invocations', { function: 'hello' }, { key: under.globex.apiKey })).status,
    ).toBe(202);
  });
});

describe('an idempotency key', () => {
  const keyed = { ...event, idempotencyKey: 'order-1' };

  test('used at the same time stores and publishes one event, and answers its id to all', async () => {
    const published: string[] = [];
    const stopListening = under.onEvent(({ id }) => published.push(id));
    const before = await under.countEvents(under.acme.scope);
    const requests = Array.from({ length: 20 }, () => under.post('/v1/events', keyed));
    const batches = Array.from({ length: 5 }, () => under.post('/v1/events', [keyed, event, keyed]));
    const answers = await Promise.all([...requests, ...batches]);
    const ids = new Set(answers.flatMap(({ body }) => [body.ids![0]!, body.ids!.at(-1)!]));
    expect(ids.size).toBe(1);
    expect(await under.countEvents(under.acme.scope)).toBe(before + 1 + 5);
    await eventually(() => expect(published).toHaveLength(6));
    stopListening();
    expect(published.filter((id) => ids.has(id))).toHaveLength(1);
  });

  test('belongs to its environment', async () => {
    const mine = await under.post('/v1/events', keyed);
    const theirs = await under.post('/v1/events', keyed, { key: under.globex.apiKey });
    expect(theirs.status).toBe(202);
    expect(theirs.body.ids).not.toEqual(mine.body.ids);
    expect(
      await under.platform.prisma.event.findFirstOrThrow({ where: { id: theirs.body.ids![0]! } }),
    ).toMatchObject({
      environmentId: under.globex.scope.environmentId,
    });
  });
});

test('the message of an event is on the subject of its environment with an id that carries the environment', async () => {
  const heard: { subject: string; messageId: string | undefined; correlationId: string | undefined }[] = [];
  const { nats } = under.jetstream.connection;
  const subscription = nats.subscribe(subjects.event(under.globex.scope, '>'), {
    callback: (_error, { subject, headers }) => {
      const messageId = headers?.get('Nats-Msg-Id');
      heard.push({ subject, messageId, correlationId: headers?.get('Ironflow-Correlation-Id') });
    },
  });
  await nats.flush();
  const { body } = await under.post('/v1/events', { name: 'a.b' }, { key: under.globex.apiKey });
  await under.post('/v1/events', { name: 'a.b' });
  await eventually(() => expect(heard).toHaveLength(1));
  subscription.unsubscribe();
  expect(heard[0]).toEqual({
    subject: 'ironflow.bank.prod.events.a.b',
    messageId: `${under.globex.scope.environmentId}.${body.ids![0]}`,
    correlationId: body.ids![0],
  });
});

test('metrics tell what was accepted and why something was refused', async () => {
  const text = await (await fetch(`${under.url}/metrics`)).text();
  expect(text).toMatch(/ironflow_ingest_events_accepted_total\{[^}]*source="http"[^}]*\} \d+/);
  expect(text).toMatch(
    /ironflow_ingest_requests_refused_total\{[^}]*reason="event_data_too_large"[^}]*\} \d+/,
  );
  expect((await fetch(`${under.url}/readyz`)).status).toBe(200);
});

test('the key under which a schedule is fired by hand is for that one of its function alone', async () => {
  const schedule = (id: string) => ({
    cron: '0 3 * * *',
    timezone: id === 'utc' ? 'UTC' : 'Europe/Berlin',
    id,
  });
  const retries = { attempts: 1, initialDelayMs: 0, factor: 1, maxDelayMs: 0 };
  await registerApp(under.platform, under.acme.scope.environmentId, {
    id: 'reports',
    mode: 'pull',
    functions: [{ id: 'report', triggers: [schedule('utc'), schedule('berlin')], retries }],
  });
  const fire = (id: string, idempotencyKey: string) =>
    under.post(`/v1/schedules/report.${id}/trigger`, { idempotencyKey });
  const first = await fire('utc', 'by-hand');
  expect(first.status).toBe(202);
  expect(await fire('utc', 'by-hand')).toMatchObject({ status: 202, body: first.body });
  expect(await fire('berlin', 'by-hand')).toMatchObject({
    status: 409,
    body: { error: { code: 'idempotency_key_reused' } },
  });
  expect(await under.post('/v1/events', { name: 'a', idempotencyKey: 'by-hand' })).toMatchObject({
    status: 409,
  });
  const other = await fire('berlin', 'by-hand-as-well');
  expect(other.status).toBe(202);
  expect(other.body.ids).not.toEqual(first.body.ids);
});

describe('the list of events', () => {
  const list = async (query: string, key = viewerKey) => {
    const answer = await fetch(`${under.url}/v1/events${query}`, {
      headers: { authorization: `Bearer ${key}` },
    });
    return { status: answer.status, body: await answer.json() };
  };

  test('is read by viewers, page by page, and only by those of the environment', async () => {
    const { body } = await under.post('/v1/events', [
      { name: 'list.one' },
      { name: 'list.two' },
      { name: 'list.one' },
    ]);
    const seen: string[] = [];
    for (let cursor = ''; ;) {
      const answered = await list(`?limit=2${cursor}`);
      expect(answered.status).toBe(200);
      const page = routes.listEvents.answers[200].schema.parse(answered.body);
      seen.push(...page.events.map(({ id }) => id));
      if (page.nextCursor === undefined) break;
      cursor = `&cursor=${encodeURIComponent(page.nextCursor)}`;
    }
    expect(seen).toEqual([...new Set(seen)].sort().reverse());
    expect(seen).toEqual(expect.arrayContaining(body.ids!));
    expect((await list('?name=list.one')).body).toMatchObject({
      events: [{ name: 'list.one' }, { name: 'list.one' }],
    });
    expect((await list('?name=list.one', under.globex.apiKey)).body).toEqual({ events: [] });
  });

  test.each([
    ['no key', '', 'nobody', 401],
    ['a page that is none', '?limit=0', undefined, 400],
    ['a cursor that is none', '?cursor=x', undefined, 400],
    ['a character that the database cannot hold', '?correlation=%00', undefined, 400],
  ])('is refused: %s', async (_what, query, key, status) => {
    expect((await list(query, key)).status).toBe(status);
  });
});
