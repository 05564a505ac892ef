/** Every route against one server, NATS and database: starting those is most of what these tests cost. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { concurrencySlotPrefix, roleAllows, routes } from '@ironflow/schema';
import type { KeyRole, Route, StopNotice, WaitsNotice } from '@ironflow/schema';
import type { z } from 'zod';
import { eventually } from '@ironflow/testing';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { Answer, ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
let viewerKey: string;
beforeAll(async () => {
  under = await startApiUnderTest();
  viewerKey = await under.addKey(under.acme.scope, 'viewer');
}, 60_000);
afterAll(() => under.stop());

const mark = 'PAYLOAD-THAT-NOBODY-MAY-LOG';
const app = {
  id: 'shop-app',
  mode: 'push',
  url: 'https://shop.example/api/ironflow',
  functions: [
    { id: 'hello', triggers: [{ event: 'user.created', if: 'event.data.total > 1' }] },
    { id: 'nightly', triggers: [{ cron: '0 3 * * *', timezone: 'Europe/Berlin' }] },
  ],
};

/** The body, checked against what the route promises. */
function bodyOf<Schema extends z.ZodType>(
  answer: Answer,
  route: { answers: { 200: { schema: Schema } } },
): z.output<Schema> {
  expect(answer.status).toBe(200);
  return route.answers[200].schema.parse(answer.body);
}

test.each(Object.entries<Route>(routes).filter(([, route]) => route.service === 'api'))(
  '%s is open to exactly the keys that its role says',
  async (_name, { method, path, role }) => {
    const url = path.replace(':id', newId()).replace(/:(project|env)/g, 'nobodys');
    const body = method === 'PUT' ? {} : undefined;
    const statusWith = async (key: string): Promise<number> =>
      (await under.request(method, url, { key, body })).status;
    expect((await statusWith('')) === 401).toBe(role !== 'none');
    const isRefused = (held: KeyRole): boolean =>
      role === 'operator' || (role !== 'none' && !roleAllows(held, role));
    expect((await statusWith(viewerKey)) === 403).toBe(isRefused('viewer'));
    const developerKey = await under.addKey(under.acme.scope, 'developer');
    expect((await statusWith(developerKey)) === 403).toBe(isRefused('developer'));
    // A body that is missing is found out after that.
    const answered = await under.request(method, url, { key: under.operatorKey, body });
    expect(answered.status === 401 || answered.status === 403).toBe(role !== 'none' && role !== 'operator');
  },
);

describe('registering an app', () => {
  test('answers what is new, is idempotent, and archives what is gone', async () => {
    const first = bodyOf(await under.request('PUT', '/v1/apps/shop-app', { body: app }), routes.registerApp);
    expect(first).toEqual({
      appId: 'shop-app',
      registered: ['hello', 'nightly'],
      unchanged: [],
      archived: [],
    });
    const again = bodyOf(await under.request('PUT', '/v1/apps/shop-app', { body: app }), routes.registerApp);
    expect(again).toMatchObject({ registered: [], unchanged: ['hello', 'nightly'] });
    const smaller = { ...app, functions: [app.functions[0]] };
    const last = bodyOf(
      await under.request('PUT', '/v1/apps/shop-app', { body: smaller }),
      routes.registerApp,
    );
    expect(last).toMatchObject({ unchanged: ['hello'], archived: ['nightly'] });
  });

  test('can be read back, and only by its environment', async () => {
    const functions = bodyOf(await under.request('GET', '/v1/functions'), routes.listFunctions).functions;
    expect(functions.map(({ id, status }) => [id, status])).toEqual([
      ['hello', 'active'],
      ['nightly', 'archived'],
    ]);
    const one = bodyOf(await under.request('GET', '/v1/functions/hello'), routes.getFunction);
    expect(one).toMatchObject({ appId: 'shop-app', retries: { attempts: 3 } });
    const apps = bodyOf(await under.request('GET', '/v1/apps'), routes.listApps).apps;
    expect(apps).toMatchObject([{ id: 'shop-app', mode: 'push', url: app.url }]);

    const key = under.globex.apiKey;
    expect((await under.request('GET', '/v1/functions', { key })).body).toEqual({ functions: [] });
    expect((await under.request('GET', '/v1/apps', { key })).body).toEqual({ apps: [] });
    expect(await under.request('GET', '/v1/functions/hello', { key })).toMatchObject({
      status: 404,
      body: { error: { code: 'function_not_found' } },
    });
  });

  test('is told through SYS_functions', async () => {
    const { environmentId } = under.acme.scope;
    const { registryVersion } = await under.platform.prisma.environment.findFirstOrThrow({
      where: { id: environmentId },
    });
    await eventually(async () => {
      const entry = await under.jetstream.bucket('SYS_functions').get(environmentId);
      expect(entry?.value).toBe(JSON.stringify({ version: registryVersion }));
    });
  });

  test.each<[string, string, unknown, number, string, string | undefined]>([
    ['malformed JSON', 'shop-app', `{"id":"${mark}`, 400, 'malformed_json', undefined],
    ['another id than in the path', 'other', app, 400, 'app_invalid', 'id'],
    ['a push app without url', 'a', { ...app, id: 'a', url: undefined }, 400, 'invalid_request', 'url'],
    [
      'a bad condition',
      'a',
      { ...app, id: 'a', functions: [{ id: 'x', triggers: [{ event: 'e', if: 'event.' }] }] },
      400,
      'app_invalid',
      'functions[0].triggers[0].if',
    ],
    [
      'a bad condition of what cancels',
      'a',
      {
        ...app,
        id: 'a',
        functions: [{ id: 'x', triggers: [], cancelOn: [{ event: 'e' }, { event: 'e', if: 'trigger.' }] }],
      },
      400,
      'app_invalid',
      'functions[0].cancelOn[1].if',
    ],
    [
      'a path that is not of the data',
      'a',
      { ...app, id: 'a', functions: [{ id: 'x', triggers: [], cancelOn: [{ event: 'e', match: 'order' }] }] },
      400,
      'invalid_request',
      'functions[0].cancelOn[0].match',
    ],
    [
      'a bad event pattern',
      'a',
      { ...app, id: 'a', functions: [{ id: 'x', triggers: [{ event: 'a b' }] }] },
      400,
      'invalid_request',
      'functions[0].triggers[0].event',
    ],
    ['a function id of another app', 'a', { ...app, id: 'a' }, 409, 'function_id_taken', 'functions[0].id'],
    [
      'a character that cannot be stored',
      'a',
      { ...app, id: 'a', sdk: 'x\u0000', functions: [] },
      400,
      'invalid_request',
      undefined,
    ],
  ])('%s is refused', async (_what, id, body, status, code, field) => {
    const answer = await under.request('PUT', `/v1/apps/${id}`, { body });
    expect(answer).toMatchObject({
      status,
      body: { error: { code, ...(field === undefined ? {} : { field }) } },
    });
    const apps = bodyOf(await under.request('GET', '/v1/apps'), routes.listApps).apps;
    expect(apps.map((known) => known.id)).toEqual(['shop-app']);
  });

  test('is not for viewers', async () => {
    const answer = await under.request('PUT', '/v1/apps/shop-app', { body: app, key: viewerKey });
    expect(answer).toMatchObject({ status: 403, body: { error: { code: 'role_insufficient' } } });
  });
});

describe('runs and events', () => {
  test('are read with their steps and runs', async () => {
    const { eventId, runId } = await under.addRun(under.acme.scope, { mark });
    const step = {
      id: 'greet',
      name: 'greet',
      type: 'run' as const,
      attempt: 1,
      startedAtMs: 1,
      endedAtMs: 2,
    };
    await under.progress(
      { scope: under.acme.scope, runId, eventId },
      {
        prev: 0,
        journalSeq: 5,
        steps: [{ ...step, status: 'completed', output: '{"said":"hi"}' }],
        status: 'completed',
        served: 1,
        output: '42',
      },
      'quietly',
    );
    const run = bodyOf(await under.request('GET', `/v1/runs/${runId}`, { key: viewerKey }), routes.getRun);
    expect(run).toMatchObject({
      id: runId,
      status: 'completed',
      output: 42,
      eventId,
      eventName: 'user.created',
    });
    expect(run.steps).toMatchObject([{ id: 'greet', status: 'completed', output: { said: 'hi' } }]);
    const event = bodyOf(await under.request('GET', `/v1/events/${eventId}`), routes.getEvent);
    expect(event).toMatchObject({ data: { mark }, runs: [{ id: runId, status: 'completed' }] });
  });

  test('are listed in pages that meet without gap or overlap', async () => {
    for (let made = 0; made < 5; made += 1) await under.addRun(under.acme.scope);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const query: string = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const page = bodyOf(await under.request('GET', `/v1/runs?limit=2${query}`), routes.listRuns);
      seen.push(...page.runs.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    expect(seen).toEqual([...new Set(seen)].sort().reverse());
    expect(seen).toHaveLength(await under.platform.prisma.run.count());
  });

  test('are filtered', async () => {
    const { eventId, runId } = await under.addRun(under.acme.scope);
    const page = bodyOf(
      await under.request(
        'GET',
        `/v1/runs?event=${eventId}&function=hello&status=queued&correlation=${eventId}`,
      ),
      routes.listRuns,
    );
    expect(page.runs.map(({ id }) => id)).toEqual([runId]);
  });

  test('can be cancelled until they have ended, and executors are told each time', async () => {
    const { eventId, runId } = await under.addRun(under.acme.scope);
    const told: StopNotice[] = [];
    under.jetstream.notices.onStop((notice) => told.push(notice));
    const cancel = () => under.request('POST', `/v1/runs/${runId}/cancel`);
    const first = await cancel();
    expect(first.status).toBe(202);
    const run = routes.cancelRun.answers[202].schema.parse(first.body);
    expect(run).toMatchObject({ id: runId, status: 'queued', stopRequestedAt: expect.any(String) });
    expect(await cancel()).toEqual(first);
    await eventually(() => expect(told).toHaveLength(2));
    expect(told[0]).toMatchObject({ scope: under.acme.scope, runId, eventId, functionId: 'hello' });
    await under.progress(
      { scope: under.acme.scope, runId, eventId },
      { prev: 0, journalSeq: 7, status: 'completed', served: 1 },
      'quietly',
    );
    expect(await cancel()).toMatchObject({ status: 409, body: { error: { code: 'run_ended' } } });
  });

  test('are cancelled by a filter, those of the environment that nobody has asked to stop yet', async () => {
    const correlation = newId();
    const mine = [await under.addRun(under.acme.scope), await under.addRun(under.acme.scope)];
    const theirs = await under.addRun(under.globex.scope);
    const [ended] = [await under.addRun(under.acme.scope)];
    await under.progress(
      { scope: under.acme.scope, ...ended },
      { prev: 0, journalSeq: 7, status: 'completed', served: 1 },
      'quietly',
    );
    const ids = [...mine, theirs, ended].map(({ runId }) => runId);
    await under.platform.prisma.run.updateMany({
      where: { id: { in: ids } },
      data: { correlationId: correlation },
    });
    const told: StopNotice[] = [];
    under.jetstream.notices.onStop((notice) => told.push(notice));
    const cancel = async (more: object) =>
      bodyOf(
        await under.request('POST', '/v1/runs/cancel', { body: { correlation, ...more } }),
        routes.cancelRuns,
      );
    expect(await cancel({ dryRun: true })).toEqual({ count: 2, isComplete: true });
    expect(await cancel({ function: 'other' })).toEqual({ count: 0, isComplete: true });
    expect(await cancel({ status: 'running' })).toEqual({ count: 0, isComplete: true });
    expect(await cancel({ to: '2020-01-01T00:00:00Z' })).toEqual({ count: 0, isComplete: true });
    expect(await cancel({ limit: 1 })).toEqual({ count: 1, isComplete: false });
    expect(await cancel({ function: 'hello', status: 'queued' })).toEqual({ count: 1, isComplete: true });
    expect(await cancel({})).toEqual({ count: 0, isComplete: true });
    await eventually(() => expect(told).toHaveLength(2));
    expect(told.map(({ runId }) => runId).sort()).toEqual(mine.map(({ runId }) => runId).sort());
    const asked = await under.platform.prisma.run.findMany({
      where: { correlationId: correlation, stopRequestedAt: { not: null } },
    });
    expect(asked.map(({ id }) => id).sort()).toEqual(mine.map(({ runId }) => runId).sort());
    for (const body of [{}, { status: 'completed' }, { function: 'a b' }, { limit: 501, correlation }]) {
      expect(await under.request('POST', '/v1/runs/cancel', { body })).toMatchObject({ status: 400 });
    }
  });

  test('take signals until they have ended, each once, and the scheduler is told', async () => {
    const { eventId, runId } = await under.addRun(under.acme.scope);
    const told: WaitsNotice[] = [];
    under.jetstream.notices.onWaits((notice) => told.push(notice), 'test');
    const send = (body: unknown) =>
      under.request('POST', `/v1/runs/${runId}/signals`, { body: JSON.stringify(body) });
    const sent = await send({ name: 'go', data: { n: 1 } });
    const { id } = routes.signalRun.answers[202].schema.parse(sent.body);
    expect(await send({ name: 'go', data: { n: 2 }, id })).toEqual(sent);
    await eventually(() => expect(told).toHaveLength(2));
    expect(told[0]).toEqual({ scope: under.acme.scope, runId });
    const kept = await under.platform.prisma.signal.findMany({ where: { runId } });
    expect(kept).toMatchObject([
      { id, name: 'go', environmentId: under.acme.scope.environmentId, data: { n: 1 } },
    ]);
    const wrong: [unknown, number, string][] = [
      [{ data: 1 }, 400, 'invalid_request'],
      [{ name: 'a'.repeat(257) }, 400, 'invalid_request'],
      [{ name: 'a\0' }, 400, 'invalid_request'],
      [{ name: 'a', id: 'no uuid' }, 400, 'invalid_request'],
      [{ name: 'a', data: 'x'.repeat(512 * 1024) }, 413, 'signal_data_too_large'],
    ];
    for (const [body, status, code] of wrong) {
      expect(await send(body)).toMatchObject({ status, body: { error: { code } } });
    }
    await under.progress(
      { scope: under.acme.scope, runId, eventId },
      { prev: 0, journalSeq: 7, status: 'completed', served: 1 },
      'quietly',
    );
    expect(await send({ name: 'go' })).toMatchObject({ status: 409, body: { error: { code: 'run_ended' } } });
  });

  test("another environment's ids are as unknown as any", async () => {
    const { eventId, runId } = await under.addRun(under.globex.scope);
    const signal = { body: JSON.stringify({ name: 'go' }) };
    expect(await under.request('POST', `/v1/runs/${runId}/signals`, signal)).toEqual(
      await under.request('POST', `/v1/runs/${newId()}/signals`, signal),
    );
    for (const [theirs, absent] of [
      [`/v1/runs/${runId}`, `/v1/runs/${newId()}`],
      [`/v1/runs/${runId}/watch`, `/v1/runs/${newId()}/watch`],
      [`/v1/events/${eventId}`, `/v1/events/${newId()}`],
    ] as const) {
      const answer = await under.request('GET', theirs);
      expect(answer.status).toBe(404);
      expect(answer).toEqual(await under.request('GET', absent));
      expect((await under.request('GET', absent, { key: under.globex.apiKey })).status).toBe(404);
    }
    const mine = bodyOf(await under.request('GET', '/v1/runs?limit=200'), routes.listRuns);
    expect(mine.runs.map(({ id }) => id)).not.toContain(runId);
    const forEvent = bodyOf(await under.request('GET', `/v1/runs?event=${eventId}`), routes.listRuns);
    expect(forEvent.runs).toEqual([]);
  });

  test.each([
    ['/v1/runs?limit=0', 'limit'],
    ['/v1/runs?limit=201', 'limit'],
    ['/v1/runs?stauts=queued', 'stauts'],
    ['/v1/runs?status=done', 'status'],
    ['/v1/runs?from=yesterday', 'from'],
    ['/v1/runs?event=1', 'event'],
    ['/v1/runs?cursor=nonsense', 'cursor'],
    ['/v1/runs/1', 'id'],
    ['/v1/me?x=1', 'x'],
    ['/v1/runs?correlation=%00', undefined],
  ])('%s is refused with 400', async (path, field) => {
    const answer = await under.request('GET', path);
    expect(answer.status).toBe(400);
    if (field !== undefined) expect(answer.body).toMatchObject({ error: { field } });
  });
});

describe('pauses', () => {
  const post = (path: string, key?: string) => under.request('POST', path, key === undefined ? {} : { key });
  const announced = async () => {
    const { environmentId } = under.acme.scope;
    const { value } = (await under.jetstream.bucket('SYS_functions').get(environmentId))!;
    return (JSON.parse(value) as { version: number }).version;
  };
  const versionNow = async () => {
    const where = { id: under.acme.scope.environmentId };
    return (await under.platform.prisma.environment.findFirstOrThrow({ where })).registryVersion;
  };

  test('of a function are told, seen with it, and over when it goes on', async () => {
    const before = await versionNow();
    const paused = bodyOf(await post('/v1/functions/hello/pause'), routes.pauseFunction);
    expect(paused).toMatchObject({ id: 'hello', pausedAt: expect.any(String) });
    expect(bodyOf(await post('/v1/functions/hello/pause'), routes.pauseFunction)).toEqual(paused);
    expect(await versionNow()).toBe(before + 1);
    await eventually(async () => expect(await announced()).toBe(before + 1));
    expect(bodyOf(await under.request('GET', '/v1/queues'), routes.listQueues)).toEqual({
      queues: [{ functionId: 'hello', pausedAt: paused.pausedAt, waiting: {} }],
    });
    const resumed = bodyOf(await post('/v1/functions/hello/resume'), routes.resumeFunction);
    expect(resumed).not.toHaveProperty('pausedAt');
    expect(await versionNow()).toBe(before + 2);
    await eventually(async () => expect(await announced()).toBe(before + 2));
  });

  test('of an environment are its own', async () => {
    const paused = bodyOf(await post('/v1/environment/pause'), routes.pauseEnvironment);
    expect(paused).toEqual({ project: 'shop', env: 'prod', pausedAt: expect.any(String) });
    expect(bodyOf(await under.request('GET', '/v1/environment'), routes.getEnvironment)).toEqual(paused);
    expect(bodyOf(await under.request('GET', '/v1/queues'), routes.listQueues)).toEqual({
      pausedAt: paused.pausedAt,
      queues: [],
    });
    const theirs = await under.request('GET', '/v1/environment', { key: under.globex.apiKey });
    expect(theirs.body).toEqual({ project: 'bank', env: 'prod' });
    const resumed = bodyOf(await post('/v1/environment/resume'), routes.resumeEnvironment);
    expect(resumed).toEqual({ project: 'shop', env: 'prod' });
  });

  test('and queues of what another environment has are as unknown as any', async () => {
    const key = under.globex.apiKey;
    const answers = await Promise.all([
      post('/v1/functions/hello/pause', key),
      post('/v1/functions/hello/resume', key),
      under.request('GET', '/v1/functions/hello/queue', { key }),
    ]);
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 404, body: { error: { code: 'function_not_found' } } });
    }
    const hello = bodyOf(await under.request('GET', '/v1/functions/hello'), routes.getFunction);
    expect(hello).not.toHaveProperty('pausedAt');
  });
});

test('a queue is read with what waits in it', async () => {
  const { environmentId } = under.acme.scope;
  const { runId } = await under.addRun(under.acme.scope);
  const slot = `${concurrencySlotPrefix('hello', { scope: 'function', key: 'event.data.a' })}k`;
  const put = (name: string, text: string) =>
    under.platform.query({ name, text }, [environmentId, runId, slot]);
  await put(
    'test_slot',
    `with entry as (
        insert into queue_entries (run_id, environment_id, event_id, function_id, state, keys, bytes, received_at, position)
        select id, environment_id, event_id, function_id, 'admitted', '{}', 0, now(), now() from runs where id = $2::uuid
      ) insert into slots (environment_id, slot, run_id) select $1::uuid, $3, $2::uuid`,
  );
  const queue = bodyOf(await under.request('GET', '/v1/functions/hello/queue'), routes.getQueue);
  expect(queue).toMatchObject({
    functionId: 'hello',
    waiting: {},
    groups: [],
    slots: [{ rule: 'concurrency', scope: 'function', key: 'k', inUse: 1, runs: [{ id: runId }] }],
  });
});

test('a key is asked for on every route that says so', async () => {
  const paths = Object.values(routes).filter(({ service, method }) => service === 'api' && method === 'GET');
  for (const { path, role } of paths) {
    const answer = await under.request('GET', path.replace(':id', newId()), { key: 'ifk_wrong' });
    expect([path, answer.status === 401]).toEqual([path, role !== 'none']);
  }
});

test('a key tells whose it is', async () => {
  expect((await under.request('GET', '/v1/me', { key: viewerKey })).body).toEqual({
    project: 'shop',
    env: 'prod',
    role: 'viewer',
  });
});

test('the description is served and knows the routes of ingest', async () => {
  const { body } = await under.request('GET', '/v1/openapi.json');
  expect(body).toMatchObject({
    openapi: '3.1.0',
    paths: { '/v1/events': { get: {}, post: {} }, '/v1/invocations': {} },
  });
});

test('registries are told again when NATS was wiped', async () => {
  await under.servers.nats.restart({ wipe: true });
  await eventually(() => expect(under.jetstream.isConnected()).toBe(true), { timeoutMs: 10_000 });
  await eventually(
    async () => {
      expect(await under.jetstream.bucket('SYS_functions').keys()).toEqual([under.acme.scope.environmentId]);
    },
    { timeoutMs: 10_000, intervalMs: 200 },
  );
}, 30_000);

test('nothing of a payload is in the logs', () => {
  expect(under.logged()).not.toContain(mark);
  expect(under.logged()).not.toContain(under.acme.apiKey);
});
