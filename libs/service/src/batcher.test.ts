import { expect, test } from '@jest/globals';
import { createBatcher } from './batcher.js';

/** A run whose batches end when the test says so. */
function createHeldRun() {
  const batches: { items: number[]; end(results?: number[]): void; fail(error: Error): void }[] = [];
  const run = (items: number[]) =>
    new Promise<number[]>((resolve, reject) =>
      batches.push({
        items,
        end: (results) => resolve(results ?? items.map((item) => item * 10)),
        fail: reject,
      }),
    );
  return { batches, run };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('items of one turn of the event loop share a batch and get their own results', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 100, maxConcurrent: 2, maxQueued: 100, run });
  const results = Promise.all([batcher.add(1), batcher.add(2), Promise.resolve().then(() => batcher.add(3))]);
  await turn();
  expect(batches.map((batch) => batch.items)).toEqual([[1, 2, 3]]);
  batches[0]!.end();
  expect(await results).toEqual([10, 20, 30]);
});

test('what arrives while all slots are busy waits and goes together, no more than a batch holds', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 3, maxConcurrent: 1, maxQueued: 100, run });
  const all = [batcher.add(0)];
  await turn();
  for (let item = 1; item <= 5; item += 1) {
    all.push(batcher.add(item));
    await turn();
  }
  expect(batches).toHaveLength(1);
  expect(batcher.queued()).toBe(5);
  for (let index = 0; index < 3; index += 1) {
    batches[index]!.end();
    await turn();
  }
  expect(batches.map((batch) => batch.items)).toEqual([[0], [1, 2, 3], [4, 5]]);
  expect(await Promise.all(all)).toEqual([0, 10, 20, 30, 40, 50]);
});

test('a batch begins beside another once it is as large', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 100, maxConcurrent: 2, maxQueued: 100, run });
  const all = [1, 2, 3].map((item) => batcher.add(item));
  await turn();
  for (const item of [4, 5]) all.push(batcher.add(item));
  await turn();
  expect(batches.map((batch) => batch.items)).toEqual([[1, 2, 3]]);
  all.push(batcher.add(6));
  await turn();
  expect(batches.map((batch) => batch.items)).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  all.push(batcher.add(7));
  batches[0]!.end();
  await turn();
  expect(batches).toHaveLength(2);
  batches[1]!.end();
  await turn();
  batches[2]!.end();
  expect(await Promise.all(all)).toEqual([10, 20, 30, 40, 50, 60, 70]);
});

test('one that hangs holds up nobody else while there is a free slot', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 100, maxConcurrent: 2, maxQueued: 100, run });
  const hanging = [1, 2, 3].map((item) => batcher.add(item));
  await turn();
  const next = batcher.add(4);
  while (batches.length < 2) await turn();
  batches[1]!.end();
  expect(await next).toBe(40);
  batches[0]!.end();
  await Promise.all(hanging);
});

test('never more batches are in flight than allowed', async () => {
  let inFlight = 0;
  let inFlightMax = 0;
  const batcher = createBatcher<number, number>({
    maxItems: 2,
    maxConcurrent: 3,
    maxQueued: 1_000,
    run: async (items) => {
      inFlightMax = Math.max(inFlightMax, (inFlight += 1));
      await turn();
      inFlight -= 1;
      return items;
    },
  });
  const items = Array.from({ length: 500 }, (_, index) => index);
  expect(await Promise.all(items.map((item) => batcher.add(item)))).toEqual(items);
  expect(inFlightMax).toBe(3);
});

test('a full queue refuses with overloaded and recovers', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 10, maxConcurrent: 1, maxQueued: 2, run });
  const first = batcher.add(1);
  await turn();
  const waiting = [batcher.add(2), batcher.add(3)];
  await expect(batcher.add(4)).rejects.toMatchObject({ category: 'unavailable', code: 'overloaded' });
  batches[0]!.end();
  await first;
  await turn();
  const later = batcher.add(5);
  batches[1]!.end();
  await Promise.all(waiting);
  await turn();
  batches[2]!.end();
  expect(await later).toBe(50);
});

test('a failed batch fails its own items only', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 10, maxConcurrent: 1, maxQueued: 10, run });
  const failing = Promise.allSettled([batcher.add(1), batcher.add(2)]);
  await turn();
  const fine = batcher.add(3);
  batches[0]!.fail(new Error('connection lost'));
  expect((await failing).map((settled) => settled.status)).toEqual(['rejected', 'rejected']);
  await turn();
  batches[1]!.end();
  expect(await fine).toBe(30);
});

test('too few results, or a run that throws instead of rejecting, leave nobody waiting', async () => {
  const short = createBatcher<number, number>({
    maxItems: 9,
    maxConcurrent: 1,
    maxQueued: 9,
    run: async () => [],
  });
  await expect(short.add(1)).rejects.toThrow('1 items was answered with 0 results');
  const throwing = createBatcher<number, number>({
    maxItems: 9,
    maxConcurrent: 1,
    maxQueued: 9,
    run: () => {
      throw new Error('at once');
    },
  });
  await expect(throwing.add(1)).rejects.toThrow('at once');
});

test('stop refuses new items and waits for those it took', async () => {
  const { batches, run } = createHeldRun();
  const batcher = createBatcher({ maxItems: 1, maxConcurrent: 1, maxQueued: 10, run });
  const taken = Promise.all([batcher.add(1), batcher.add(2)]);
  let isStopped = false;
  const stopped = Promise.all([batcher.stop(), batcher.stop()]).then(() => (isStopped = true));
  await expect(batcher.add(3)).rejects.toMatchObject({ code: 'stopping' });
  batches[0]!.end();
  await turn();
  expect(isStopped).toBe(false);
  batches[1]!.end();
  await stopped;
  expect(await taken).toEqual([10, 20]);
});

test('items of several lines are taken in turn, so that a long line keeps no other waiting', async () => {
  const { batches, run } = createHeldRun();
  const lineOf = (item: number): string => (item < 100 ? 'long' : 'short');
  const batcher = createBatcher({ maxItems: 4, maxConcurrent: 1, maxQueued: 100, lineOf, run });
  const results = Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 100, 101].map((item) => batcher.add(item)));
  await turn();
  expect(batches.map((batch) => batch.items)).toEqual([[1, 100, 2, 101]]);
  for (let n = 0; n < 3; n += 1) {
    batches[n]!.end();
    await turn();
  }
  expect(await results).toEqual([10, 20, 30, 40, 50, 60, 70, 80, 1_000, 1_010]);
});
