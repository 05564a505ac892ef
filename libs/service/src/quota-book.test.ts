import { beforeEach, expect, test } from '@jest/globals';
import { defaultQuotas } from '@ironflow/schema';
import { createManualClock } from '@ironflow/testing';
import type { ManualClock } from '@ironflow/testing';
import { createQuotaBook } from './quota-book.js';
import type { QuotaBook } from './quota-book.js';

let clock: ManualClock;
let book: QuotaBook;
let reads: string[];
let isAway: boolean;
let takesMs: number;
let eventsPerSecond: number;
let replicas: number;

beforeEach(() => {
  clock = createManualClock();
  reads = [];
  isAway = false;
  takesMs = 0;
  eventsPerSecond = 7;
  replicas = 3;
  book = createQuotaBook({
    store: {
      read: async (environmentId) => {
        reads.push(environmentId);
        const quotas = { ...defaultQuotas, eventsPerSecond };
        if (takesMs > 0) await new Promise<void>((resolve) => clock.setTimeout(resolve, takesMs));
        if (isAway) throw new Error('the database is away');
        return { quotas, use: { queuedRuns: 1, storageBytes: 2 } };
      },
    },
    countReplicas: () => (isAway ? Promise.reject(new Error('disconnected')) : Promise.resolve(replicas)),
    clock,
  });
});

const limitOf = (id: string): number => book.of(id).quotas.eventsPerSecond;

test('an environment that is not known has the defaults at once, and its own as soon as they are read', async () => {
  expect(limitOf('a')).toBe(defaultQuotas.eventsPerSecond);
  await book.settle();
  expect(book.of('a')).toMatchObject({
    quotas: { eventsPerSecond: 7 },
    use: { queuedRuns: 1, storageBytes: 2 },
  });
  expect(book.replicas).toBe(3);
});

test('it is read again every five seconds while it is asked for, and not otherwise', async () => {
  limitOf('a');
  await book.settle();
  for (let requests = 0; requests < 100; requests += 1) limitOf('a');
  expect(reads).toHaveLength(1);
  await clock.advance(60_000);
  expect(reads).toHaveLength(1);
  limitOf('a');
  expect(reads).toHaveLength(2);
});

test('a count that takes long is made less often', async () => {
  takesMs = 1_000;
  limitOf('a');
  await clock.advance(1_000);
  await clock.advance(19_000);
  limitOf('a');
  expect(reads).toHaveLength(1);
  await clock.advance(1_000);
  limitOf('a');
  expect(reads).toHaveLength(2);
});

test('quotas that were set are read at once, also if that was while they were read', async () => {
  limitOf('a');
  await book.settle();
  eventsPerSecond = 8;
  book.forget('a');
  await book.settle();
  expect(limitOf('a')).toBe(8);
  takesMs = 10;
  book.forget('a');
  eventsPerSecond = 9;
  book.forget('a');
  await clock.advance(10);
  expect(limitOf('a')).toBe(8);
  await clock.advance(10);
  expect(limitOf('a')).toBe(9);
  book.forget('nobody asks for it');
  expect(reads).not.toContain('nobody asks for it');
});

test('while Postgres and NATS are away it goes on with what it knew', async () => {
  limitOf('a');
  await book.settle();
  isAway = true;
  await clock.advance(6_000);
  limitOf('a');
  await book.settle();
  expect([limitOf('a'), book.replicas]).toEqual([7, 3]);
});

test('two are read at once; the others when they are asked for again', async () => {
  takesMs = 10;
  for (const id of ['a', 'b', 'c']) limitOf(id);
  expect(reads).toEqual(['a', 'b']);
  await clock.advance(10);
  limitOf('c');
  expect(reads).toEqual(['a', 'b', 'c']);
});
