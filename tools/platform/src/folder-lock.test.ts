import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { createScratch } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { lockFolder } from './folder-lock.js';

let scratch: Scratch;

beforeEach(async () => {
  scratch = await createScratch('lock');
});

afterEach(() => scratch.remove());

const inUse = { code: 'data_folder_in_use' };

test('one at a time has the folder, and leaves nothing in it', async () => {
  const lock = await lockFolder(scratch.path);
  await expect(lockFolder(scratch.path)).rejects.toMatchObject({
    ...inUse,
    message: expect.stringContaining(`process ${process.pid}`),
  });
  await lock.stop();
  await (await lockFolder(scratch.path)).stop();
  expect(readdirSync(scratch.path)).toEqual([]);
});

test('the lock of a process that is gone is taken over', async () => {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  await once(child, 'exit');
  writeFileSync(scratch.file('platform.lock'), JSON.stringify({ pid: child.pid }));
  await (await lockFolder(scratch.path)).stop();
});

test('the lock of a process whose id was used again is taken over', async () => {
  writeFileSync(scratch.file('platform.lock'), JSON.stringify({ pid: process.ppid, startedAt: '1' }));
  await (await lockFolder(scratch.path)).stop();
});

test('a lock that was cut short is taken over', async () => {
  writeFileSync(scratch.file('platform.lock'), '{"pid":');
  const lock = await lockFolder(scratch.path);
  expect(readdirSync(scratch.path)).toEqual(['platform.lock']);
  await lock.stop();
});
