import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createIngestStore } from './index.js';
import type { IngestStore, NewRun } from './index.js';

let platform: Platform;
let ingest: IngestStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  ingest = createIngestStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});
beforeEach(() => platform.admin.query('truncate runs, events, unrouted_events'));
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

/** Newest first. */
async function endedRuns(count: number, functionId = 'ship', scope = platform.ours.scope): Promise<NewRun[]> {
  const runs = await startRuns(platform, scope, count, { functionId });
  const ids = runs.map(({ id }) => id);
  await platform.admin.query(`update runs set status = 'failed' where id = any($1)`, [ids]);
  return runs.sort((a, b) => (a.id < b.id ? 1 : -1));
}
const idsOf = (page: { items: { id: string }[] }): string[] => page.items.map(({ id }) => id);
const failed = { status: 'failed', limit: 10 } as const;

test('runs are found by how they ended and by function, with their events, in their environment only', async () => {
  const shipped = await endedRuns(2);
  const [billed] = await endedRuns(1, 'bill');
  await endedRuns(1, 'ship', platform.theirs.scope);
  await startRuns(platform, platform.ours.scope, 1);
  const all = await ingest.runsToRepeat(ours, failed);
  expect(idsOf(all).sort()).toEqual([...shipped, billed!].map(({ id }) => id).sort());
  expect(all).not.toHaveProperty('nextCursor');
  const ofFunction = await ingest.runsToRepeat(ours, { ...failed, functionId: 'bill' });
  expect(ofFunction.items).toEqual([
    {
      id: billed!.id,
      functionId: 'bill',
      event: expect.objectContaining({ id: billed!.eventId, name: 'order.created', data: '{"total":1}' }),
    },
  ]);
  expect(await ingest.countRunsToRepeat(ours, failed)).toBe(3);
  expect(await ingest.countRunsToRepeat(ours, { ...failed, functionId: 'ship' })).toBe(2);
  expect(await ingest.countRunsToRepeat(ours, { ...failed, limit: 2 })).toBe(2);
  expect(await ingest.countRunsToRepeat(theirs, failed)).toBe(1);
  expect((await ingest.runsToRepeat(ours, { ...failed, status: 'completed' })).items).toEqual([]);
});

test('pages go on where the one before ended, the newest first, and within the time that is asked for', async () => {
  const runs = await endedRuns(3);
  const first = await ingest.runsToRepeat(ours, { ...failed, limit: 2 });
  const second = await ingest.runsToRepeat(ours, { ...failed, limit: 2, cursor: first.nextCursor });
  expect([...idsOf(first), ...idsOf(second)]).toEqual(runs.map(({ id }) => id));
  expect(second).not.toHaveProperty('nextCursor');
  const past = '2020-01-01T00:00:00Z';
  expect(idsOf(await ingest.runsToRepeat(ours, { ...failed, to: past }))).toEqual([]);
  expect(await ingest.countRunsToRepeat(ours, { ...failed, to: past })).toBe(0);
  expect(await ingest.countRunsToRepeat(ours, { ...failed, from: past })).toBe(3);
});

test('a page ends early when its payloads get large', async () => {
  const runs = await endedRuns(3);
  await platform.admin.query(`update events set data = to_json(repeat('x', 3 * 1024 * 1024))`);
  const first = await ingest.runsToRepeat(ours, failed);
  expect(idsOf(first)).toEqual(runs.slice(0, 2).map(({ id }) => id));
  expect(idsOf(await ingest.runsToRepeat(ours, { ...failed, cursor: first.nextCursor }))).toEqual([
    runs[2]!.id,
  ]);
  expect((await ingest.eventsToReplay(ours, { name: 'order.created', limit: 10 })).items).toHaveLength(2);
});

test('a run whose event is not kept any more is found without it', async () => {
  const [run, other] = await endedRuns(2);
  await platform.admin.query('delete from events where id = $1', [run!.eventId]);
  const { items } = await ingest.runsToRepeat(ours, failed);
  expect(items).toMatchObject([{ id: run!.id }, { id: other!.id, event: { id: other!.eventId } }]);
  expect(items[0]).not.toHaveProperty('event');
});

test('events are found by name, without those that were for one function or are a neighbour’s', async () => {
  const events = [newEvent({ version: '2' }), newEvent()].sort((a, b) => (a.id < b.id ? 1 : -1));
  const addressed = newEvent({ functionId: 'ship', rerunOf: freshId() });
  await ingest.storeEvents(ours, [...events, newEvent({ name: 'other' }), addressed]);
  await ingest.storeEvents(theirs, [newEvent()]);
  const query = { name: 'order.created', limit: 10 };
  const page = await ingest.eventsToReplay(ours, query);
  expect(idsOf(page)).toEqual(events.map(({ id }) => id));
  expect(page.items.map(({ version }) => version).sort()).toEqual(['2', undefined]);
  expect(await ingest.countEventsToReplay(ours, query)).toBe(2);
  expect(await ingest.countEventsToReplay(theirs, query)).toBe(1);
});
