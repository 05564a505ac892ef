import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createCollectorStore, createExecutorStore, createFlowStore, createSchedulerStore } from './index.js';
import type { CollectorStore, FlowState, FlowStore, FlowWrites, NewRun, RunProgress } from './index.js';

let platform: Platform;
let flow: FlowStore;
let collector: CollectorStore;
let ours: string;

beforeAll(async () => {
  platform = await createPlatform();
  flow = createFlowStore(platform.service);
  collector = createCollectorStore(platform.service);
  ours = platform.ours.scope.environmentId;
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const slot = 'concurrency:ship:00000000:';
const ofSingleton = 'singleton:ship:';
const nothing: FlowWrites = {
  ...{ skipped: [], held: [], queued: [], admitted: [], lanes: [], emptied: [] },
  ...{ states: [], removed: [], events: [] },
};
const write = (writes: Partial<FlowWrites>) =>
  flow.pass(ours, (pass) => pass.write({ ...nothing, ...writes }));
const usage = () => flow.pass(ours, (pass) => pass.usage([slot, ofSingleton]));

async function arrive(): Promise<NewRun> {
  const arrival = { keys: {}, bytes: 0, receivedAtMs: 1_000, positionMs: 1_000 };
  return (await startRuns(platform, platform.ours.scope, 1, { flow: arrival }))[0]!;
}

function admit({ id }: NewRun, resumed = false) {
  const slots = [
    { slot, isKept: false },
    { slot: ofSingleton, isKept: true },
  ];
  return write({ admitted: [{ runId: id, resumed, slots }] });
}

async function accept(run: NewRun, changes: Partial<RunProgress>) {
  const [accepted] = await collector.apply([
    {
      runId: run.id,
      environmentId: ours,
      prev: 0,
      journalSeq: 10,
      steps: [],
      startedAtMs: 1_000,
      ...changes,
    },
  ]);
  return accepted!;
}

async function wakeOf({ id }: NewRun): Promise<number> {
  return (await createExecutorStore(platform.service).loadRuns([id])).get(id)!.wake;
}

describe('a run that is let go on', () => {
  let run: NewRun;
  beforeEach(async () => (run = await arrive()));
  afterEach(() => platform.admin.query('truncate queue_entries, slots'));

  test('is woken when it begins, so that a lost activation is found, and not once more when it goes on', async () => {
    const before = await wakeOf(run);
    expect((await admit(run)).admitted).toEqual(new Set([run.id]));
    expect(await wakeOf(run)).toBe(before + 1);
    await admit(run, true);
    expect(await wakeOf(run)).toBe(before + 1);
  });

  test('holds its slots until its activation has ended, and the one of a singleton until it has itself', async () => {
    await admit(run);
    expect(await accept(run, { status: 'running' })).toMatchObject({ freed: [] });
    expect(await usage()).toEqual(new Map([slot, ofSingleton].map((name) => [name, 1])));

    const yielded = await accept(run, { prev: 10, journalSeq: 11, status: 'waiting', served: 1 });
    expect(yielded).toMatchObject({ freed: [slot] });
    expect(await usage()).toEqual(new Map([[ofSingleton, 1]]));

    const ended = await accept(run, {
      prev: 11,
      journalSeq: 12,
      status: 'completed',
      served: 1,
    });
    expect(ended).toMatchObject({ freed: [ofSingleton] });
    expect(await usage()).toEqual(new Map());
    expect((await platform.admin.query('select from queue_entries')).rowCount).toBe(0);
  });

  test('holds its slots for as long as its aborted call may go on', async () => {
    await admit(run);
    await accept(run, { status: 'cancelled', served: 1, callEndsInMs: 3_600_000 });
    expect(await usage()).toEqual(new Map([slot, ofSingleton].map((name) => [name, 1])));
    await platform.admin.query("update slots set leased_until = leased_until - interval '1 hour'");
    expect(await usage()).toEqual(new Map());
  });

  test('is passed by if it has ended meanwhile, and takes no slot', async () => {
    await accept(run, { status: 'cancelled', served: 0 });
    expect((await admit(run)).admitted).toEqual(new Set());
    expect(await usage()).toEqual(new Map());
  });
});

test('what a rule remembers is what it was told last, and is forgotten when it is removed', async () => {
  const of = { functionId: 'ship', rule: 'throttle' as const, keyHash: 'hash' };
  const states = () => flow.pass(ours, (pass) => pass.states([of]));
  const remembered = (nextAtMs: number): FlowState => ({ ...of, nextAtMs, expiresAtMs: nextAtMs });
  await write({ states: [remembered(1_000)] });
  await write({ states: [remembered(2_000)] });
  expect(await states()).toEqual([remembered(2_000)]);
  await write({ removed: [of] });
  expect(await states()).toEqual([]);
});

test('what a rule remembers outlives its time by an hour, for events of before that are decided late', async () => {
  const hourMs = 3_600_000;
  const of = (keyHash: string, ageMs: number): FlowState => {
    const expiresAtMs = Date.now() - ageMs;
    return { functionId: 'ship', rule: 'rate_limit', keyHash, nextAtMs: expiresAtMs, expiresAtMs };
  };
  const [recent, old] = [of('recent', hourMs / 2), of('old', 2 * hourMs)];
  await write({ states: [recent, old] });
  expect(await createSchedulerStore(platform.service).removeExpiredFlow(10)).toBe(1);
  const left = await flow.pass(ours, (pass) => pass.states([recent, old]));
  expect(left.map(({ keyHash }) => keyHash)).toEqual(['recent']);
  await write({ removed: [recent] });
});

describe('what is due', () => {
  afterEach(() => platform.admin.query('truncate queue_entries, queue_lanes'));
  const lane = { functionId: 'ship', resumed: false, slots: [], throttle: undefined, positionMs: 0 };
  const readyAtMs = Date.UTC(2100, 0, 1);

  test('is of the environments that are asked for, or of all, and of none that has nothing in its queue', async () => {
    expect(await flow.due()).toEqual([]);
    await arrive();
    const due = [{ environmentId: ours, inMs: expect.any(Number) }];
    expect(await flow.due()).toEqual(due);
    expect(await flow.due([ours])).toEqual(due);
    expect((await flow.due())[0]!.inMs).toBeLessThan(0);
    expect(await flow.due([platform.theirs.scope.environmentId])).toEqual([]);
  });

  test('is not said by lanes that wait for others only, but for the one whose time comes', async () => {
    await write({ lanes: [{ ...lane, lane: 'a', blockedBy: slot, readyAtMs: 0 }] });
    expect(await flow.due([ours])).toEqual([{ environmentId: ours }]);
    await write({ lanes: [{ ...lane, lane: 'b', readyAtMs }] });
    const [due] = await flow.due([ours]);
    expect(due!.inMs).toBeCloseTo(readyAtMs - Date.now(), -5);
  });
});

test('lanes of an obstacle that is gone may go on, the first ones of each, and it is said of which there may be more', async () => {
  const lanes = ['paused:a', 'paused:a', 'paused:b', 'paused:c'].map((blockedBy, index) => ({
    ...{ lane: `lane-${index}`, functionId: 'ship', resumed: false, slots: [], throttle: undefined },
    ...{ positionMs: index, blockedBy, readyAtMs: 0 },
  }));
  await write({ lanes });
  await flow.pass(ours, async (pass) => {
    expect(await pass.obstacles({ after: '', limit: 2 })).toEqual(['paused:a', 'paused:b']);
    expect(await pass.obstacles({ after: 'paused:b', limit: 2 })).toEqual(['paused:c']);
    expect(await pass.unblock(['paused:a', 'paused:b'], 2)).toEqual(['paused:a']);
    const ready = await pass.lanes({ names: [], limit: 10, entriesMax: 1 });
    expect(ready.map(({ lane: name }) => name).sort()).toEqual(['lane-0', 'lane-1', 'lane-2']);
    expect(await pass.obstacles({ after: '', limit: 2 })).toEqual(['paused:c']);
  });
});

test('a run that undoes what it has done goes on at once, whatever its rules say', async () => {
  const [going, undoing] = [await arrive(), await arrive()];
  for (const run of [going, undoing]) {
    await admit(run);
    await accept(run, { status: 'waiting', served: 1 });
  }
  const stopping = { prev: 10, journalSeq: 11, status: 'waiting' as const, stopping: 'failed' as const };
  await accept(undoing, { ...stopping, error: { name: 'Error', message: 'no' } });
  expect(await flow.requeue([going.id, undoing.id])).toEqual(new Map([[going.id, ours]]));
  await platform.admin.query('truncate queue_entries, slots');
});
