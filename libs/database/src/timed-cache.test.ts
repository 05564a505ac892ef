import { expect, test } from '@jest/globals';
import { createTimedCache } from './timed-cache.js';

function counted() {
  let elapsedMs = 0;
  const loads: string[] = [];
  const cache = createTimedCache<number>({ entriesMax: 2, lifetimeMs: 10, elapsedMs: () => elapsedMs });
  const get = (key: string): Promise<number> =>
    cache.get(key, async () => {
      loads.push(key);
      return loads.length;
    });
  return { get, cache, loads, pass: (ms: number) => (elapsedMs += ms) };
}

test('what was loaded is remembered for its lifetime and no longer', async () => {
  const { get, loads, pass } = counted();
  expect([await get('a'), await get('a')]).toEqual([1, 1]);
  pass(9);
  await get('a');
  expect(loads).toEqual(['a']);
  pass(1);
  expect(await get('a')).toBe(2);
});

test('using an entry does not prolong it', async () => {
  const { get, loads, pass } = counted();
  for (let used = 0; used < 3; used += 1) {
    await get('a');
    pass(5);
  }
  expect(loads).toEqual(['a', 'a']);
});

test('many who ask at once cause one load', async () => {
  const { get, loads } = counted();
  await Promise.all([get('a'), get('a'), get('a')]);
  expect(loads).toEqual(['a']);
});

test('beyond its size the entry that was unused the longest goes', async () => {
  const { get, loads } = counted();
  for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) await get(key);
  expect(loads).toEqual(['a', 'b', 'c', 'b']);
});

test('a failure is not remembered', async () => {
  const { cache, get } = counted();
  await expect(cache.get('a', () => Promise.reject(new Error('down')))).rejects.toThrow('down');
  expect(await get('a')).toBe(1);
});

test('what matches is forgotten, and what is being loaded meanwhile is not remembered', async () => {
  const { cache, get, loads } = counted();
  await get('a');
  const loading = get('b');
  cache.forget((value) => value === 1);
  expect(await loading).toBe(2);
  expect([await get('a'), await get('b')]).toEqual([3, 4]);
  cache.forget((_value, key) => key === 'a');
  expect([await get('b'), await get('a')]).toEqual([4, 5]);
  expect(loads).toEqual(['a', 'b', 'a', 'b', 'a']);
});
