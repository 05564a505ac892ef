import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createCollectorStore, createIngestStore, registerApp } from '@ironflow/database';
import { subjects } from '@ironflow/schema';
import type { DeadLetter, Scope, StoredEvent } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { newId, registerHello, route, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest, PostOptions } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
let scope: Scope;
const published: StoredEvent[] = [];

beforeAll(async () => {
  under = await startIngestUnderTest();
  scope = under.acme.scope;
  under.onEvent((event) => published.push(event));
  await registerHello(under, scope);
}, 60_000);
afterAll(() => under.stop());

const replay = (letterId: string, options?: PostOptions) =>
  under.post(`/v1/dead-letters/${letterId}/replay`, {}, options);

const letterRow = (id: string) => under.platform.prisma.deadLetter.findUniqueOrThrow({ where: { id } });

async function failedRun(): Promise<{ runId: string; letterId: string; event: StoredEvent }> {
  const { body } = await under.post('/v1/events', { name: 'user.created', data: { n: 1 } });
  const event = await eventually(() => {
    const found = published.find(({ id }) => id === body.ids![0]);
    if (found === undefined) throw new Error('it is not published yet');
    return found;
  });
  const runId = await route(under, event);
  const run = { runId, environmentId: scope.environmentId, prev: 0, journalSeq: 1, steps: [] };
  const error = { name: 'CardError', message: 'declined' };
  await createCollectorStore(under.platform).apply([
    { ...run, status: 'failed', error, served: 1, startedAtMs: Date.now() },
  ]);
  const letter = await under.platform.prisma.deadLetter.findFirstOrThrow({ where: { runId } });
  return { runId, letterId: letter.id, event };
}

async function messageLetter(changes: Partial<DeadLetter> = {}): Promise<DeadLetter> {
  const letter: DeadLetter = {
    ...{ id: newId(), environmentId: scope.environmentId, reason: 'unreadable', detail: 'd' },
    ...{ subject: subjects.ingest(scope, fired), payload: '', occurredAtMs: Date.now() },
    ...changes,
  };
  await createCollectorStore(under.platform).storeDeadLetters([letter]);
  return letter;
}

/** An event of the platform's own, which are the ones that come as whole messages. */
const fired = 'ironflow.cron.hello';
const ingestMessage = (id: string) => ({
  ...{ id, environmentId: scope.environmentId, name: fired, data: '1', source: 'cron' },
});

describe('the letter of a failed run', () => {
  test('is replayed by repeating the run, once, however often that is asked for', async () => {
    const { runId, letterId, event } = await failedRun();
    const before = await under.countEvents(scope);
    const answers = await Promise.all([replay(letterId), replay(letterId), replay(letterId)]);
    for (const { status, body } of answers) {
      expect(status).toBe(202);
      expect(body).toEqual(answers[0].body);
    }
    expect((await replay(letterId)).body).toEqual(answers[0].body);
    expect(await under.countEvents(scope)).toBe(before + 1);
    const { eventId, runId: newRunId, replayedAt } = answers[0].body;
    expect(newRunId).not.toBe(runId);
    expect((await letterRow(letterId)).replayedAt!.toISOString()).toBe(replayedAt);
    await eventually(() =>
      expect(published.filter(({ id }) => id === eventId)).toMatchObject([
        { rerunOf: runId, functionId: 'hello', source: 'rerun', data: event.data, causationId: event.id },
      ]),
    );
  });

  test('whose replay died before its event was stored is replayed by the next that asks', async () => {
    const { letterId } = await failedRun();
    const replayedAtMs = await createIngestStore(under.platform).markReplayed(scope.environmentId, letterId);
    const { status, body } = await replay(letterId);
    expect(status).toBe(202);
    expect(body.replayedAt).toBe(new Date(replayedAtMs!).toISOString());
    await under.platform.prisma.event.findFirstOrThrow({ where: { id: body.eventId! } });
  });
});

describe('the letter of a message', () => {
  test('goes to its stream again, where it may be read now, once', async () => {
    const id = newId();
    const payload = Buffer.from(JSON.stringify(ingestMessage(id))).toString('base64');
    const letter = await messageLetter({ payload });
    const first = await replay(letter.id);
    expect(first).toMatchObject({ status: 202, body: { replayedAt: expect.any(String) } });
    await eventually(() => expect(published.map((event) => event.id)).toContain(id));
    expect((await replay(letter.id)).body).toEqual(first.body);
    const stored = await under.platform.prisma.event.findFirstOrThrow({ where: { id } });
    expect(stored).toMatchObject({ environmentId: scope.environmentId, name: fired });
  });

  test('becomes another letter when it is still unreadable', async () => {
    const payload = Buffer.from(JSON.stringify({ ...ingestMessage(newId()), data: '{' })).toString('base64');
    const letter = await messageLetter({ payload });
    const heard: string[] = [];
    const { nats } = under.jetstream.connection;
    const subscription = nats.subscribe(letter.subject, {
      callback: (_error, message) => void heard.push(message.string()),
    });
    expect((await replay(letter.id)).status).toBe(202);
    const others = { environmentId: scope.environmentId, subject: letter.subject, id: { not: letter.id } };
    await eventually(async () => {
      const again = await under.platform.prisma.deadLetter.findMany({
        where: { ...others, replayedAt: null },
      });
      expect(again.map((row) => Buffer.from(row.payload!).toString('base64'))).toEqual([payload]);
    });
    // Marked: nothing is published any more.
    expect((await replay(letter.id)).status).toBe(202);
    await nats.flush();
    subscription.unsubscribe();
    expect(heard).toHaveLength(1);
  });

  test.each<[string, () => string]>([
    ['of a journal', () => `ironflow.${scope.project}.${scope.env}.results.${newId()}.run`],
    ['of a stored event', () => subjects.event(scope, 'order.placed')],
    ['of another place', () => subjects.ingest(under.globex.scope, 'order.placed')],
    ['of no place of ours', () => 'somewhere.else'],
  ])('%s is not replayed, which is said, and it is not marked', async (_what, subjectOf) => {
    const letter = await messageLetter({ subject: subjectOf() });
    expect(await replay(letter.id)).toMatchObject({
      status: 409,
      body: { error: { code: 'dead_letter_not_replayable' } },
    });
    expect((await letterRow(letter.id)).replayedAt).toBeNull();
  });
});

test("a neighbour's letter is as unknown as any, and a viewer replays none", async () => {
  const { letterId } = await failedRun();
  const key = under.globex.apiKey;
  const [stranger, unknown] = [await replay(letterId, { key }), await replay(newId())];
  expect(stranger).toMatchObject({ status: 404, body: { error: { code: 'dead_letter_not_found' } } });
  expect(stranger.body).toEqual(unknown.body);
  expect((await replay(letterId, { key: await under.addKey(scope, 'viewer') })).status).toBe(403);
  expect((await letterRow(letterId)).replayedAt).toBeNull();
});

test('a run whose function is registered no more is not replayed, and its letter not marked', async () => {
  const { letterId } = await failedRun();
  await registerApp(under.platform, scope.environmentId, { id: 'app', mode: 'pull', functions: [] });
  await under.jetstream.bucket('SYS_functions').put(scope.environmentId, '{}');
  // It is known here once invocations are refused.
  await eventually(async () =>
    expect((await under.post('/v1/invocations', { function: 'hello' })).status).toBe(404),
  );
  expect(await replay(letterId)).toMatchObject({
    status: 404,
    body: { error: { code: 'function_not_found' } },
  });
  expect((await letterRow(letterId)).replayedAt).toBeNull();
});
