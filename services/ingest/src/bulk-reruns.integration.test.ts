import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createCollectorStore } from '@ironflow/database';
import { limits, subjects } from '@ironflow/schema';
import type { DeadLetter, Scope, StoredEvent } from '@ironflow/schema';
import { systemClock } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { newId, registerHello, route, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest, PostOptions } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
let scope: Scope;
const published: StoredEvent[] = [];
/** Moved on by tests alone, so that none waits for the rate. */
let nowMs = Date.now();

beforeAll(async () => {
  under = await startIngestUnderTest({ clock: { ...systemClock, now: () => nowMs } });
  scope = under.acme.scope;
  under.onEvent((event) => published.push(event));
  for (const each of [scope, under.globex.scope]) await registerHello(under, each);
}, 60_000);
beforeEach(() => {
  nowMs += 60_000;
});
afterAll(() => under.stop());

interface BulkBody {
  count?: number;
  skipped?: number;
  nextCursor?: string;
  error?: { code: string; field?: string };
}
async function post(path: string, body: object, options?: PostOptions) {
  const answer = await under.post(path, body, options);
  return { status: answer.status, headers: answer.headers, body: answer.body as BulkBody };
}
const rerun = (body: object, options?: PostOptions) =>
  post('/v1/runs/rerun', { status: 'failed', ...body }, options);

async function stored(count: number, name: string): Promise<StoredEvent[]> {
  const { body } = await under.post('/v1/events', Array(count).fill({ name, data: { n: 1 } }));
  return eventually(() => {
    const events = published.filter(({ id }) => body.ids!.includes(id));
    if (events.length < count) throw new Error('they are not published yet');
    return events;
  });
}

async function failedRuns(count: number): Promise<string[]> {
  const events = await stored(count, 'user.created');
  const runIds = await Promise.all(events.map((event) => route(under, event)));
  const ending = { prev: 0, journalSeq: 1, steps: [], status: 'failed', served: 1, startedAtMs: 1 } as const;
  const { environmentId } = scope;
  await createCollectorStore(under.platform).apply(
    runIds.map((runId) => ({ ...ending, runId, environmentId })),
  );
  return runIds;
}

const repeatsOf = async (runIds: string[]): Promise<(string | null)[]> =>
  (await under.platform.prisma.event.findMany({ where: { rerunOf: { in: runIds } } })).map(
    ({ rerunOf }) => rerunOf,
  );

describe('runs that a filter finds', () => {
  test('are only counted in a dry run, and then repeated page by page, each once for a key', async () => {
    const runIds = await failedRuns(3);
    const counted = await rerun({ dryRun: true });
    expect(counted).toMatchObject({ status: 200, body: { count: 3 } });
    expect(await repeatsOf(runIds)).toEqual([]);
    const key = { idempotencyKey: newId() };
    for (const again of [false, true]) {
      const first = await rerun({ ...key, limit: 2 });
      expect(first).toMatchObject({ status: 202, body: { count: 2, skipped: 0 } });
      nowMs += 1_000;
      const second = await rerun({ ...key, limit: 2, cursor: first.body.nextCursor });
      expect(second.body).toEqual({ count: 1, skipped: 0 });
      nowMs += 1_000;
      expect([again, (await repeatsOf(runIds)).sort()]).toEqual([again, [...runIds].sort()]);
    }
    await eventually(() =>
      expect(published.filter(({ rerunOf }) => runIds.includes(rerunOf!))).toMatchObject(
        runIds.map(() => ({ source: 'rerun', functionId: 'hello', name: 'user.created', data: '{"n":1}' })),
      ),
    );
  });

  test('are skipped when their function is not registered any more', async () => {
    const runIds = await failedRuns(1);
    await under.platform.prisma.run.update({ where: { id: runIds[0]! }, data: { functionId: 'gone' } });
    expect((await rerun({ function: 'gone' })).body).toEqual({ count: 0, skipped: 1 });
    expect(await repeatsOf(runIds)).toEqual([]);
  });

  test('are those of one environment, for a developer', async () => {
    await failedRuns(1);
    const key = under.globex.apiKey;
    expect((await rerun({ dryRun: true }, { key })).body).toEqual({ count: 0 });
    expect((await rerun({}, { key })).body).toEqual({ count: 0, skipped: 0 });
    const viewer = await under.addKey(scope, 'viewer');
    expect((await rerun({}, { key: viewer })).status).toBe(403);
  });

  test.each([
    ['a status of runs that go on', { status: 'running' }, 'status'],
    ['more than a request may', { limit: limits.bulkEventsPerRequestMax + 1 }, 'limit'],
    ['a cursor that is none', { cursor: 'x' }, 'cursor'],
    ['a filter there is not', { event: 'a' }, 'event'],
  ])('are not looked for by %s', async (_what, body, field) => {
    expect(await rerun(body)).toMatchObject({ status: 400, body: { error: { field } } });
  });
});

test('an environment repeats no faster than the rate, and its neighbour does not wait for it', async () => {
  await failedRuns(3);
  const first = await rerun({});
  expect(first.status).toBe(202);
  const refused = { status: 429, body: { error: { code: 'bulk_rate_exceeded' } } };
  const tooSoon = await rerun({});
  expect(tooSoon).toMatchObject(refused);
  expect(tooSoon.headers.get('retry-after')).toBe('1');
  expect((await rerun({}, { key: under.globex.apiKey })).status).toBe(202);
  // What nothing came of takes no time.
  expect((await rerun({}, { key: under.globex.apiKey })).status).toBe(202);
  const durationMs = (first.body.count! / limits.bulkEventsPerSecondMax) * 1_000;
  nowMs += durationMs - 1;
  expect(await rerun({})).toMatchObject(refused);
  expect((await rerun({ dryRun: true })).status).toBe(200);
  nowMs += 1;
  expect((await rerun({})).status).toBe(202);
});

describe('stored events', () => {
  const replay = (body: object, options?: PostOptions) =>
    post('/v1/functions/hello/replay', { event: 'order.placed', ...body }, options);

  test('are counted, and then given to one function that no trigger of theirs names, each once for a key', async () => {
    const events = await stored(2, 'order.placed');
    expect(await replay({ dryRun: true })).toMatchObject({ status: 200, body: { count: 2 } });
    const key = { idempotencyKey: newId() };
    for (const again of [false, true]) {
      const answer = await replay(key);
      expect([again, answer.status, answer.body]).toEqual([again, 202, { count: 2, skipped: 0 }]);
      nowMs += 1_000;
    }
    expect(await under.platform.prisma.event.count({ where: { source: 'replay' } })).toBe(2);
    const isReplayed = ({ source }: StoredEvent): boolean => source === 'replay';
    await eventually(() => expect(published.filter(isReplayed)).toHaveLength(2));
    const replayed = published.filter(isReplayed);
    expect(replayed.map(({ causationId }) => causationId).sort()).toEqual(events.map(({ id }) => id).sort());
    for (const event of replayed) {
      expect(event).toMatchObject({ functionId: 'hello', name: 'order.placed', data: '{"n":1}' });
      expect(event.rerunOf).toBeUndefined();
    }
    // What was replayed is no part of the next replay.
    expect((await replay({ dryRun: true })).body).toEqual({ count: 2 });
  });

  test('are not given to a function that is not registered, nor are a neighbour’s', async () => {
    const unknown = await post('/v1/functions/nobody/replay', { event: 'order.placed' });
    expect(unknown).toMatchObject({ status: 404, body: { error: { code: 'function_not_found' } } });
    const key = under.globex.apiKey;
    expect((await replay({}, { key })).body).toEqual({ count: 0, skipped: 0 });
    const reserved = await replay({ event: 'ironflow.invoke.hello' });
    expect(reserved).toMatchObject({ status: 400, body: { error: { field: 'event' } } });
  });
});

describe('dead letters that a filter finds', () => {
  const replay = (body: object, options?: PostOptions) => post('/v1/dead-letters/replay', body, options);
  const marked = (where: object) =>
    under.platform.prisma.deadLetter.count({ where: { ...where, replayedAt: { not: null } } });
  beforeEach(() => under.platform.prisma.deadLetter.deleteMany());

  async function messageLetter(subject: string, payload = ''): Promise<string> {
    const id = newId();
    const { environmentId } = scope;
    const letter: DeadLetter = { id, environmentId, subject, payload, ...unreadable };
    await createCollectorStore(under.platform).storeDeadLetters([letter]);
    return id;
  }
  const unreadable = { reason: 'unreadable', detail: 'd', occurredAtMs: 1 } as const;

  test('are only counted in a dry run, and then replayed page by page, each once, and marked', async () => {
    const runIds = await failedRuns(3);
    const ofRuns = { runId: { in: runIds } };
    expect(await replay({ dryRun: true })).toMatchObject({ status: 200, body: { count: 3 } });
    expect([await marked(ofRuns), await repeatsOf(runIds)]).toEqual([0, []]);
    const first = await replay({ limit: 2 });
    expect(first).toMatchObject({ status: 202, body: { count: 2, skipped: 0 } });
    expect(await marked(ofRuns)).toBe(2);
    expect(await replay({})).toMatchObject({ status: 429, body: { error: { code: 'bulk_rate_exceeded' } } });
    expect((await rerun({})).status).toBe(429);
    nowMs += 1_000;
    expect((await replay({ limit: 2, cursor: first.body.nextCursor })).body).toEqual({
      count: 1,
      skipped: 0,
    });
    nowMs += 1_000;
    expect((await replay({})).body).toEqual({ count: 0, skipped: 0 });
    expect((await replay({ dryRun: true })).body).toEqual({ count: 0 });
    expect(await marked(ofRuns)).toBe(3);
    expect((await repeatsOf(runIds)).sort()).toEqual([...runIds].sort());
  });

  test('are skipped when they cannot be replayed, which is said, and are not marked', async () => {
    const [gone, kept] = await failedRuns(2);
    await under.platform.prisma.run.update({ where: { id: gone! }, data: { functionId: 'gone' } });
    const ofEvent = await messageLetter(subjects.event(scope, 'order.placed'));
    const message = {
      id: newId(),
      environmentId: scope.environmentId,
      name: 'ironflow.cron.hello',
      data: '1',
    };
    const text = Buffer.from(JSON.stringify({ ...message, source: 'cron' })).toString('base64');
    const readable = await messageLetter(subjects.ingest(scope, message.name), text);
    expect((await replay({})).body).toEqual({ count: 2, skipped: 2 });
    expect(await marked({ OR: [{ runId: gone! }, { id: ofEvent }] })).toBe(0);
    expect(await marked({ OR: [{ runId: kept! }, { id: readable }] })).toBe(2);
    expect(await repeatsOf([gone!, kept!])).toEqual([kept]);
    await eventually(() => expect(published.map(({ id }) => id)).toContain(message.id));
  });

  test('are those of a reason and of a function', async () => {
    const [hello, other] = await failedRuns(2);
    await under.platform.prisma.run.update({ where: { id: other! }, data: { functionId: 'other' } });
    await messageLetter(subjects.ingest(scope, 'order.placed'));
    expect((await replay({ dryRun: true, reason: 'run_failed' })).body).toEqual({ count: 2 });
    expect((await replay({ reason: 'run_failed', function: 'hello' })).body).toEqual({
      count: 1,
      skipped: 0,
    });
    expect(await marked({})).toBe(1);
    expect(await repeatsOf([hello!, other!])).toEqual([hello]);
  });

  test('are those of one environment, for a developer, and asked for by what there is', async () => {
    await failedRuns(1);
    expect((await replay({}, { key: under.globex.apiKey })).body).toEqual({ count: 0, skipped: 0 });
    const viewer = await under.addKey(scope, 'viewer');
    expect((await replay({}, { key: viewer })).status).toBe(403);
    const refused = { status: 400, body: { error: { field: 'reason' } } };
    expect(await replay({ reason: 'bad' })).toMatchObject(refused);
    expect(await marked({})).toBe(0);
  });
});
