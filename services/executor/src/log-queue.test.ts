import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { NewLogLine } from '@ironflow/database';
import { LogQueue } from './log-queue.js';

const lineOf = (environmentId: string, n: number, changes: Partial<NewLogLine> = {}): NewLogLine => ({
  environmentId,
  runId: `run-of-${environmentId}`,
  id: `${environmentId}-${String(n).padStart(5, '0')}`,
  atMs: n,
  level: 'info',
  message: 'm',
  ...changes,
});
const wide = { bytesMax: 1_000_000, batchLinesMax: 1_000, batchBytesMax: 1_000_000 };
const idsOf = (lines: readonly NewLogLine[]): string[] => lines.map(({ id }) => id);

test('lines come out in their order, and environments take turns', () => {
  const queue = new LogQueue({ ...wide, batchLinesMax: 120 });
  for (let n = 0; n < 200; n += 1) queue.add(lineOf('a', n));
  for (let n = 0; n < 30; n += 1) queue.add(lineOf('b', n));
  const first = queue.take();
  expect(first).toHaveLength(120);
  expect(first.filter(({ environmentId }) => environmentId === 'b')).toHaveLength(30);
  const rest = queue.take();
  expect(idsOf([...first, ...rest]).filter((id) => id.startsWith('a'))).toEqual(
    Array.from({ length: 200 }, (_, n) => lineOf('a', n).id),
  );
  expect([queue.size, queue.take()]).toEqual([0, []]);
});

test('a batch has so many bytes, or one line that is larger', () => {
  const queue = new LogQueue({ ...wide, batchBytesMax: 2_000 });
  queue.add(lineOf('a', 0, { message: 'x'.repeat(5_000) }));
  for (let n = 1; n < 30; n += 1) queue.add(lineOf('a', n));
  expect(idsOf(queue.take())).toEqual([lineOf('a', 0).id]);
  expect(queue.take()).toHaveLength(10);
});

test('when there is no room, whoever has most gives way, and his runs say how many lines', () => {
  const queue = new LogQueue({ ...wide, bytesMax: 100 * 201 });
  for (let n = 0; n < 10; n += 1) queue.add(lineOf('quiet', n));
  let dropped = 0;
  for (let n = 0; n < 300; n += 1) dropped += queue.add(lineOf('loud', n));
  const batch = queue.take();
  expect(batch.filter(({ environmentId }) => environmentId === 'quiet')).toHaveLength(10);
  const [note, next] = batch.filter(({ environmentId }) => environmentId === 'loud');
  expect(note).toMatchObject({
    ...{ id: lineOf('loud', dropped - 1).id, level: 'warn' },
    message: `${dropped} lines were dropped: they could not be stored in time`,
  });
  expect(next!.id).toBe(lineOf('loud', dropped).id);
  expect(idsOf(batch).at(-1)).toBe(lineOf('loud', 299).id);
});

test('every line comes out or is counted, whatever is added and taken, and never more waits than may', () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ add: fc.constantFrom('a', 'b', 'c'), bytes: fc.nat(900) }) },
    { weight: 1, arbitrary: fc.constant('take' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new LogQueue({ bytesMax: 6_000, batchLinesMax: 7, batchBytesMax: 3_000 });
      const taken: NewLogLine[] = [];
      let added = 0;
      let dropped = 0;
      for (const one of steps) {
        if (one === 'take') taken.push(...queue.take());
        else dropped += queue.add(lineOf(one.add, (added += 1), { message: 'x'.repeat(one.bytes) }));
        expect(queue.size).toBeLessThanOrEqual(6_000 / 200 + 3);
      }
      while (queue.size > 0) taken.push(...queue.take());
      const notes = taken.filter(({ level }) => level === 'warn');
      expect(notes.reduce((sum, { message }) => sum + Number.parseInt(message, 10), 0)).toBe(dropped);
      expect(taken.length - notes.length + dropped).toBe(added);
      expect(new Set(idsOf(taken)).size).toBe(taken.length);
      for (const name of ['a', 'b', 'c']) {
        const ids = idsOf(taken.filter(({ environmentId }) => environmentId === name));
        expect(ids).toEqual([...ids].sort());
      }
    }),
  );
});
