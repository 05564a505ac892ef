import { expect, test } from '@jest/globals';
import { lowestIdAt } from '@ironflow/schema';
import { highestId, lowestId } from './id-windows.js';
import { cutPage, pageWindow } from './page.js';

test('without bounds a page begins at the newest', () => {
  expect(pageWindow({ limit: 10 })).toEqual({ lowest: lowestId, end: highestId });
});

test('times become bounds on ids, and a cursor within them goes on from where the last page ended', () => {
  const from = '2026-01-01T00:00:00.000Z';
  const to = '2026-01-02T00:00:00.000Z';
  const bounds = { lowest: lowestIdAt(Date.parse(from)), end: lowestIdAt(Date.parse(to)) };
  expect(pageWindow({ limit: 10, from, to })).toEqual(bounds);
  const cursor = lowestIdAt(Date.parse(from) + 5);
  expect(pageWindow({ limit: 10, from, to, cursor })).toEqual({ ...bounds, end: cursor });
  expect(pageWindow({ limit: 10, from, to, cursor: highestId })).toEqual(bounds);
});

test('a cursor that is not one is refused by its field', () => {
  expect(() => pageWindow({ limit: 10, cursor: "' or 1=1" })).toThrow(
    expect.objectContaining({ category: 'invalid', code: 'cursor_invalid', field: 'cursor' }),
  );
});

test('there is a next page exactly when there was one row more', () => {
  const rows = ['c', 'b', 'a'].map((id) => ({ id, beyond: false }));
  expect(cutPage(rows, 3)).toEqual({ rows });
  expect(cutPage(rows, 2)).toEqual({ rows: rows.slice(0, 2), nextCursor: 'b' });
});

test('a page ends early at a row beyond its bytes, and the next one begins with it', () => {
  const rows = ['d', 'c', 'b', 'a'].map((id) => ({ id, beyond: id < 'c' }));
  expect(cutPage(rows, 10)).toEqual({ rows: rows.slice(0, 2), nextCursor: 'c' });
  expect(cutPage(rows, 1)).toEqual({ rows: rows.slice(0, 1), nextCursor: 'd' });
});
