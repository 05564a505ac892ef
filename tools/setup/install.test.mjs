// @ts-check
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { install } from './install.mjs';

let root = '';
/** @type {string[]} */
let lines = [];
const log = (/** @type {string} */ line) => lines.push(line);

/** A workspace whose one dependency is a folder of its own, so that npm needs no network. */
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ironflow-install-'));
  lines = [];
  const manifest = { name: 'clone', version: '1.0.0', workspaces: ['part'] };
  await mkdir(join(root, 'part'));
  await writeFile(join(root, 'part/package.json'), JSON.stringify({ name: 'part', version: '1.0.0' }));
  await writeFile(join(root, 'package.json'), JSON.stringify(manifest));
  execFileSync('npm', ['install', '--package-lock-only', '--no-audit', '--no-fund', '--offline'], {
    cwd: root,
  });
});
afterEach(() => rm(root, { recursive: true, force: true }));

test('a clean clone is installed, and then there is nothing to do or say', async () => {
  assert.equal(await install({ root, log }), 'installed');
  assert.ok(existsSync(join(root, 'node_modules/part/package.json')));
  assert.match(lines.join('\n'), /npm install/);
  // The platform makes its data folder itself, for its user alone.
  assert.ok(!existsSync(join(root, '.ironflow')));
  lines = [];
  assert.equal(await install({ root, log }), 'present');
  assert.deepEqual(lines, []);
});

test('several commands started at once install once', async () => {
  const outcomes = await Promise.all([1, 2, 3].map(() => install({ root, log })));
  assert.deepEqual(outcomes.sort(), ['installed', 'present', 'present']);
});

test('what somebody installed with npm themselves is kept', async () => {
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--offline'], { cwd: root });
  assert.equal(await install({ root, log }), 'adopted');
  assert.deepEqual(lines, []);
});

test('a lock file that changed since is installed again', async () => {
  await install({ root, log });
  const path = join(root, 'package-lock.json');
  const lock = JSON.parse(await readFile(path, 'utf8'));
  const manifest = { name: 'other', version: '1.0.0' };
  await mkdir(join(root, 'other'));
  await writeFile(join(root, 'other/package.json'), JSON.stringify(manifest));
  await writeFile(
    join(root, 'package.json'),
    JSON.stringify({ name: 'clone', version: '1.0.0', workspaces: ['part', 'other'] }),
  );
  lock.packages[''].workspaces = ['part', 'other'];
  lock.packages.other = { version: '1.0.0' };
  lock.packages['node_modules/other'] = { resolved: 'other', link: true };
  await writeFile(path, JSON.stringify(lock));
  assert.equal(await install({ root, log }), 'installed');
  assert.ok(existsSync(join(root, 'node_modules/other')));
});

test('an old node is refused even when there is nothing to install', async () => {
  await install({ root, log });
  const { version, versions } = process;
  Object.defineProperty(process, 'versions', { value: { ...versions, node: '18.20.0' } });
  try {
    await assert.rejects(install({ root, log }), /Node 20\.19 or newer is needed; this is 18\.20\.0/);
  } finally {
    Object.defineProperty(process, 'versions', { value: versions });
  }
  assert.equal(`v${process.versions.node}`, version);
});

test('a folder that is no clone is refused with a sentence', async () => {
  await rm(join(root, 'package-lock.json'));
  await assert.rejects(install({ root, log }), /is this a complete clone/);
});
