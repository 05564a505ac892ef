// @ts-check
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { findNatsServer, natsServerVersion } from './nats-server.mjs';
import { fetchRelease } from './nats-server-sources.mjs';

let scratch = '';
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ironflow-setup-'));
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

/** A program that answers --version as nats-server does. */
async function fakeServer(/** @type {string} */ path, version = natsServerVersion) {
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, `#!/bin/sh\necho "nats-server: v${version}"\n`, { mode: 0o755 });
  return path;
}

function options(
  /** @type {{ env?: NodeJS.ProcessEnv, sources?: import('./nats-server.mjs').FetchSource[] }} */ more,
) {
  return { cacheDir: join(scratch, 'cache'), sources: [], ...more, env: { PATH: '', ...more.env } };
}

test('a chosen program comes before the PATH, and the PATH before the cache', async () => {
  const chosen = await fakeServer(join(scratch, 'chosen'));
  const onPath = await fakeServer(join(scratch, 'bin/nats-server'));
  const inCache = await fakeServer(join(scratch, 'cache/nats-server-2.15.1'));
  const env = { PATH: join(scratch, 'bin'), NATS_SERVER_BIN: chosen };
  assert.equal((await findNatsServer(options({ env }))).path, chosen);
  assert.equal((await findNatsServer(options({ env: { PATH: env.PATH } }))).path, onPath);
  assert.deepEqual(await findNatsServer(options({})), { path: inCache, version: '2.15.1', source: 'cache' });
});

test('a program that is too old is passed over, and the reason is said', async () => {
  await fakeServer(join(scratch, 'bin/nats-server'), '2.11.9');
  const env = { PATH: join(scratch, 'bin') };
  const inCache = await fakeServer(join(scratch, 'cache/nats-server-2.15.1'));
  /** @type {string[]} */
  const lines = [];
  const found = await findNatsServer({ ...options({ env }), log: (line) => lines.push(line) });
  assert.equal(found.path, inCache);
  assert.match(lines.join('\n'), /version 2\.11\.9 is older than 2\.12\.0/);
});

test('a chosen program that cannot be used is an error, whatever else there is', async () => {
  await fakeServer(join(scratch, 'cache/nats-server-2.15.1'));
  const old = { NATS_SERVER_BIN: await fakeServer(join(scratch, 'old'), '2.11.9') };
  await assert.rejects(findNatsServer(options({ env: old })), /^Error: NATS_SERVER_BIN: .*2\.11\.9 is older/);
  const absent = { NATS_SERVER_BIN: join(scratch, 'absent') };
  await assert.rejects(
    findNatsServer(options({ env: absent })),
    /NATS_SERVER_BIN: .*absent.*no such program/,
  );
});

test('what a source gives is kept in the cache under its own version', async () => {
  const source = {
    name: 'a source',
    fetch: (/** @type {{ scratch: string }} */ to) => fakeServer(join(to.scratch, 'x'), '2.15.3'),
  };
  const found = await findNatsServer(options({ sources: [source] }));
  assert.equal(found.path, join(scratch, 'cache/nats-server-2.15.3'));
  assert.deepEqual(await readdir(join(scratch, 'cache')), ['nats-server-2.15.3']);
  assert.equal((await findNatsServer(options({}))).source, 'cache');
});

test('several processes that need it at once fetch it once', async () => {
  let fetched = 0;
  const source = {
    name: 'a source',
    fetch: (/** @type {{ scratch: string }} */ to) => {
      fetched += 1;
      return fakeServer(join(to.scratch, 'x'));
    },
  };
  await Promise.all([1, 2, 3].map(() => findNatsServer(options({ sources: [source] }))));
  assert.equal(fetched, 1);
});

test('when nothing works, the error names every attempt with its reason and what to do', async () => {
  const sources = [
    { name: 'first', fetch: () => Promise.reject(new Error('no way there')) },
    {
      name: 'second',
      fetch: (/** @type {{ scratch: string }} */ to) => fakeServer(join(to.scratch, 'x'), '2.10.27'),
    },
  ];
  await assert.rejects(findNatsServer(options({ sources })), (/** @type {Error} */ error) => {
    assert.match(error.message, /first: no way there/);
    assert.match(error.message, /second: version 2\.10\.27 is older/);
    assert.match(error.message, /Install nats-server/);
    return true;
  });
});

test('a lock whose owner is dead does not block, nor one whose id another process has since', async () => {
  const dead = execFileSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).trim();
  const reused = `${process.ppid} 1`;
  for (const owner of process.platform === 'linux' ? [dead, reused] : [dead]) {
    const cacheDir = join(scratch, owner);
    await mkdir(join(cacheDir, 'nats-server.lock'), { recursive: true });
    await writeFile(join(cacheDir, 'nats-server.lock/owner'), owner);
    const source = {
      name: 'a source',
      fetch: (/** @type {{ scratch: string }} */ to) => fakeServer(join(to.scratch, 'x')),
    };
    const found = await findNatsServer({ ...options({ sources: [source] }), cacheDir });
    assert.equal(found.source, 'a source');
  }
});

test('a release is used only when it has the pinned checksum', async () => {
  const name = 'nats-server-v1.2.3-linux-amd64';
  await fakeServer(join(scratch, 'site', name, 'nats-server'));
  execFileSync('tar', ['-czf', `${name}.tar.gz`, name], { cwd: join(scratch, 'site') });
  const archive = await readFile(join(scratch, 'site', `${name}.tar.gz`));
  const server = createServer((_request, response) => response.end(archive)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  const from = (/** @type {string} */ sum) => ({
    checksums: { '1.2.3': { 'linux-amd64': sum } },
    site: `http://127.0.0.1:${address.port}`,
    platform: 'linux-amd64',
  });
  try {
    const to = { version: '1.2.3', scratch, env: {} };
    await assert.rejects(fetchRelease(to, from('0'.repeat(64))), /not the pinned one/);
    const elsewhere = { ...from('0'), platform: 'plan9-arm' };
    await assert.rejects(fetchRelease(to, elsewhere), /no pinned checksum for 1\.2\.3 on plan9-arm/);
    const right = from(createHash('sha256').update(archive).digest('hex'));
    // A version that is not pinned: the one that is will do.
    const path = await fetchRelease({ ...to, version: '9.9.9' }, right);
    assert.equal(execFileSync(path, { encoding: 'utf8' }).trim(), `nats-server: v${natsServerVersion}`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
