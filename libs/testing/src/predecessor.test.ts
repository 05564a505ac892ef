import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { endOrphan, findPredecessor, writeLaunchNote } from './predecessor.js';
import { createScratch, type Scratch } from './scratch.js';

let scratch: Scratch;

beforeEach(async () => {
  scratch = await createScratch('predecessor');
  await writeFile(scratch.file('server.sh'), 'sleep 30 >/dev/null 2>&1\n:\n');
});

afterEach(() => scratch.remove());

const find = () =>
  findPredecessor({ notePath: scratch.file('note'), commandIncludes: [scratch.file('server.sh')] });

/** A server whose launcher, the outer shell, has ended by the time this returns. */
function startOrphan(): { serverPid: number; launcherPid: number } {
  const script = 'sh "$0" >/dev/null 2>&1 & echo $! $$';
  const pids = execFileSync('sh', ['-c', script, scratch.file('server.sh')], { encoding: 'utf8' }).split(' ');
  return { serverPid: Number(pids[0]), launcherPid: Number(pids[1]) };
}

test('without a note, or with one cut short, there is no predecessor', async () => {
  expect(find()).toEqual({ state: 'none' });
  await writeFile(scratch.file('note'), '{"serverPid":1');
  expect(find()).toEqual({ state: 'none' });
});

test('a process id that now belongs to another program is no predecessor', async () => {
  writeLaunchNote(scratch.file('note'), process.pid);
  expect(find()).toEqual({ state: 'none' });
});

test('a server whose launcher still runs is in use', async () => {
  const server = spawn('sh', [scratch.file('server.sh')], { stdio: 'ignore' });
  await once(server, 'spawn');
  writeLaunchNote(scratch.file('note'), server.pid ?? 0);
  expect(find()).toEqual({ state: 'in_use', pid: server.pid });
  server.kill('SIGKILL');
  await once(server, 'exit');
  expect(find()).toEqual({ state: 'none' });
});

test('a server whose launcher is gone is an orphan and can be ended', async () => {
  const note = startOrphan();
  await writeFile(scratch.file('note'), JSON.stringify(note));
  expect(find()).toEqual({ state: 'orphan', pid: note.serverPid });
  await endOrphan(note.serverPid, 'SIGTERM', 2_000);
  expect(find()).toEqual({ state: 'none' });
});
