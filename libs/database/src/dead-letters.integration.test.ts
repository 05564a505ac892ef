import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { deriveReplayEventId } from '@ironflow/schema';
import type { DeadLetter } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiStore, createCollectorStore, createIngestStore, createSchedulerStore } from './index.js';
import type { ApiStore, CollectorStore, IngestStore, NewRun, RunProgress } from './index.js';

let platform: Platform;
let api: ApiStore;
let collector: CollectorStore;
let ingest: IngestStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  api = createApiStore(platform.tenant);
  collector = createCollectorStore(platform.service);
  ingest = createIngestStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});
beforeEach(() => platform.admin.query('truncate dead_letters'));
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const occurredAtMs = 1_795_255_752_224;
const letterOf = (changes: Partial<DeadLetter> = {}): DeadLetter => ({
  id: freshId(),
  environmentId: ours,
  subject: 'ironflow.shop.prod.ingest.order.placed',
  reason: 'unreadable',
  detail: 'data must be JSON text',
  payload: Buffer.from('{broken').toString('base64'),
  occurredAtMs,
  ...changes,
});
const idsOf = async (environmentId: string, query = {}): Promise<string[]> =>
  (await api.listDeadLetters(environmentId, { limit: 10, ...query })).deadLetters.map(({ id }) => id);

describe('a run that fails', () => {
  const error = { name: 'CardError', message: 'declined' };
  const progress = (run: NewRun, change: Partial<RunProgress> = {}): RunProgress => ({
    ...{ runId: run.id, environmentId: run.environmentId, prev: 0, journalSeq: 1 },
    ...{ steps: [], startedAtMs: Date.now(), status: 'failed', error, ...change },
  });

  test('leaves a letter that names it, in the statement that ends it; other runs leave none', async () => {
    const runs = await startRuns(platform, platform.ours.scope, 3);
    const [failed, completed, cancelled] = runs as [NewRun, NewRun, NewRun];
    const accepted = await collector.apply([
      progress(failed),
      progress(completed, { status: 'completed', error: undefined }),
      progress(cancelled, { status: 'cancelled', error: undefined }),
    ]);
    const ended = accepted.find(({ runId }) => runId === failed.id)!;
    const { deadLetters } = await api.listDeadLetters(ours, { limit: 10 });
    expect(deadLetters).toEqual([
      {
        id: expect.any(String),
        reason: 'run_failed',
        detail: expect.any(String),
        runId: failed.id,
        functionId: 'ship',
        occurredAt: new Date(ended.endedAtMs!).toISOString(),
      },
    ]);
    expect(await api.getDeadLetter(ours, deadLetters[0]!.id)).toEqual({ ...deadLetters[0], error });
    expect(await idsOf(theirs)).toEqual([]);
  });

  test('leaves one letter, and none if it had ended before or is another’s', async () => {
    const [run, other] = await startRuns(platform, platform.ours.scope, 2);
    await collector.apply([progress(run!)]);
    await collector.apply([progress(run!), progress(other!, { environmentId: theirs })]);
    expect(await idsOf(ours)).toHaveLength(1);
    expect(await idsOf(theirs)).toEqual([]);
  });
});

test('a message’s letter is stored once, with or without an environment, and seen by its own only', async () => {
  const letter = letterOf();
  const { environmentId: _none, ...unknown } = letterOf();
  await collector.storeDeadLetters([letter, unknown]);
  await collector.storeDeadLetters([letter]);
  expect(await idsOf(ours)).toEqual([letter.id]);
  expect(await idsOf(theirs)).toEqual([]);
  expect(await api.getDeadLetter(theirs, letter.id)).toBeUndefined();
  expect(await api.getDeadLetter(ours, letter.id)).toEqual({
    id: letter.id,
    reason: 'unreadable',
    detail: 'data must be JSON text',
    subject: letter.subject,
    occurredAt: new Date(occurredAtMs).toISOString(),
    payload: '{broken',
    payloadEncoding: 'utf8',
  });
});

test('a message that is no text comes as base64', async () => {
  const letter = letterOf({ payload: Buffer.from([0, 1, 255]).toString('base64') });
  await collector.storeDeadLetters([letter]);
  expect(await api.getDeadLetter(ours, letter.id)).toMatchObject({
    payload: letter.payload,
    payloadEncoding: 'base64',
  });
});

test('letters come in pages, the newest first, and by reason and time', async () => {
  const hour = 3_600_000;
  const letters = [3, 2, 1].map((hours) => letterOf({ id: freshId(occurredAtMs + hours * hour) }));
  letters[1] = { ...letters[1]!, reason: 'without_run' };
  await collector.storeDeadLetters(letters);
  const ids = letters.map(({ id }) => id);
  const first = await api.listDeadLetters(ours, { limit: 2 });
  expect(first.deadLetters.map(({ id }) => id)).toEqual(ids.slice(0, 2));
  expect(await idsOf(ours, { cursor: first.nextCursor })).toEqual(ids.slice(2));
  expect(await idsOf(ours, { reason: 'without_run' })).toEqual([ids[1]]);
  const at = (hours: number): string => new Date(occurredAtMs + hours * hour).toISOString();
  expect(await idsOf(ours, { from: at(2), to: at(3) })).toEqual([ids[1]]);
});

test('the first replay is kept, and nobody else’s counts', async () => {
  const letter = letterOf();
  await collector.storeDeadLetters([letter]);
  expect(await ingest.markReplayed(theirs, letter.id)).toBeUndefined();
  expect(await ingest.deadLetterToReplay(theirs, letter.id)).toBeUndefined();
  const payload = Buffer.from('{broken');
  expect(await ingest.deadLetterToReplay(ours, letter.id)).toEqual({
    id: letter.id,
    message: { subject: letter.subject, payload },
  });
  const replayedAtMs = await ingest.markReplayed(ours, letter.id);
  expect(Math.abs(replayedAtMs! - (await platform.service.now()))).toBeLessThan(5_000);
  await platform.admin.query("update dead_letters set replayed_at = replayed_at - interval '1 hour'");
  expect(await ingest.markReplayed(ours, letter.id)).toBe(replayedAtMs! - 3_600_000);
  expect(await ingest.deadLetterToReplay(ours, letter.id)).toMatchObject({
    replayedAtMs: replayedAtMs! - 3_600_000,
  });
});

describe('letters to be replayed', () => {
  const all = { limit: 10 };
  const toReplay = async (environmentId: string, query = {}): Promise<string[]> =>
    (await ingest.lettersToReplay(environmentId, { ...all, ...query })).items.map(({ id }) => id);
  async function failedRuns(
    count: number,
    functionId: string,
  ): Promise<{ runId: string; letterId: string }[]> {
    const runs = await startRuns(platform, platform.ours.scope, count, { functionId });
    const ended = { prev: 0, journalSeq: 1, steps: [], status: 'failed', startedAtMs: 1 } as const;
    await collector.apply(runs.map(({ id, environmentId }) => ({ ...ended, runId: id, environmentId })));
    const { rows } = await platform.admin.query<{ runId: string; letterId: string }>(
      'select run_id as "runId", id as "letterId" from dead_letters where run_id = any($1) order by id desc',
      [runs.map(({ id }) => id)],
    );
    return rows;
  }

  test('are found by reason, function and time, in pages, the newest first, in their environment only', async () => {
    const message = letterOf({ id: freshId(1_000) });
    await collector.storeDeadLetters([message, letterOf({ environmentId: theirs })]);
    const shipped = (await failedRuns(2, 'ship')).map(({ letterId }) => letterId);
    const billed = (await failedRuns(1, 'bill')).map(({ letterId }) => letterId);
    expect((await toReplay(ours)).sort()).toEqual([...shipped, ...billed, message.id].sort());
    expect(await toReplay(ours, { reason: 'run_failed', functionId: 'ship' })).toEqual(shipped);
    expect(await toReplay(ours, { functionId: 'bill' })).toEqual(billed);
    expect(await toReplay(ours, { reason: 'unreadable' })).toEqual([message.id]);
    expect(await toReplay(ours, { to: new Date(2_000).toISOString() })).toEqual([message.id]);
    const first = await ingest.lettersToReplay(ours, { limit: 1, functionId: 'ship' });
    expect([first.items, first.nextCursor]).toEqual([[{ id: shipped[0] }], shipped[0]]);
    expect(await toReplay(ours, { functionId: 'ship', cursor: first.nextCursor })).toEqual([shipped[1]]);
    expect(await ingest.countLettersToReplay(ours, all)).toBe(4);
    expect(await ingest.countLettersToReplay(ours, { limit: 2 })).toBe(2);
    expect(await ingest.countLettersToReplay(ours, { ...all, functionId: 'ship' })).toBe(2);
    expect(await ingest.countLettersToReplay(theirs, all)).toBe(1);
  });

  test('are not those that were, but the ones whose replay was cut off', async () => {
    const message = letterOf();
    await collector.storeDeadLetters([message]);
    const [done, cutOff, old] = await failedRuns(3, 'ship');
    for (const id of [message.id, done!.letterId, cutOff!.letterId, old!.letterId]) {
      const replayedAtMs = (await ingest.markReplayed(ours, id))!;
      if (id !== done!.letterId) continue;
      const eventId = deriveReplayEventId({ environmentId: ours, letterId: id, replayedAtMs });
      const repeats = { id: eventId, functionId: 'ship', rerunOf: done!.runId };
      await ingest.storeEvents(ours, [newEvent(repeats)]);
    }
    await platform.admin.query(
      "update dead_letters set replayed_at = replayed_at - interval '11 minutes' where id = $1",
      [old!.letterId],
    );
    expect(await toReplay(ours)).toEqual([cutOff!.letterId]);
    expect(await ingest.countLettersToReplay(ours, all)).toBe(1);
  });
});

test('a letter is discarded by its own environment only, and once', async () => {
  const letter = letterOf();
  await collector.storeDeadLetters([letter]);
  expect(await api.discardDeadLetter(theirs, letter.id)).toBe(false);
  expect(await idsOf(ours)).toEqual([letter.id]);
  expect(await api.discardDeadLetter(ours, letter.id)).toBe(true);
  expect(await api.discardDeadLetter(ours, letter.id)).toBe(false);
  expect(await idsOf(ours)).toEqual([]);
});

test('of a letter the tenant’s role can change nothing but that it was replayed', async () => {
  await collector.storeDeadLetters([letterOf()]);
  const change = (text: string) =>
    platform.tenant.inEnvironment(ours, (transaction) => transaction.query({ name: '', text }, []));
  await expect(change(`update dead_letters set run_id = gen_random_uuid()`)).rejects.toMatchObject({
    code: '42501',
  });
  await expect(change(`update dead_letters set payload = ''`)).rejects.toMatchObject({ code: '42501' });
});

test('letters go when they are 30 days old, the oldest first', async () => {
  const day = 24 * 3_600_000;
  const nowMs = await platform.service.now();
  const letters = [29, 31, 32].map((days) => letterOf({ occurredAtMs: nowMs - days * day }));
  await collector.storeDeadLetters(letters);
  const scheduler = createSchedulerStore(platform.service);
  expect(await scheduler.removeExpiredLetters(1)).toBe(1);
  expect((await idsOf(ours)).sort()).toEqual([letters[0]!.id, letters[1]!.id].sort());
  expect(await scheduler.removeExpiredLetters(10)).toBe(1);
  expect(await scheduler.removeExpiredLetters(10)).toBe(0);
  expect(await idsOf(ours)).toEqual([letters[0]!.id]);
});
