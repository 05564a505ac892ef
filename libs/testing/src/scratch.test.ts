import { expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createScratch } from './scratch.js';

test('a scratch folder is empty, its own, and gone after removal', async () => {
  const [one, other] = await Promise.all([createScratch(), createScratch()]);
  expect(one.path).not.toBe(other.path);
  await writeFile(one.file('note'), 'text');
  expect(existsSync(other.file('note'))).toBe(false);
  await one.remove();
  await other.remove();
  expect(existsSync(one.path)).toBe(false);
});
