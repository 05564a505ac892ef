import { connect as connectTcp } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createApiKey, createApiKeyStore } from '@ironflow/database';
import { limits } from '@ironflow/schema';
import { eventually, stopSharedServers } from '@ironflow/testing';
import { connectRawWorker, end } from './testing/raw-worker.js';
import type { RawWorker, RawWorkerOptions } from './testing/raw-worker.js';
import { createWorld } from './testing/world.js';
import type { RunningExecutor, World } from './testing/world.js';

let world: World;
let executor: RunningExecutor;
const workers: RawWorker[] = [];
beforeAll(async () => {
  world = await createWorld();
  await world.register(world.ours.scope, { id: 'fleet' }, { work: {} });
  await world.register(world.ours.scope, { id: 'shop', url: 'http://127.0.0.1:9/' }, { ship: {} });
  executor = await world.startExecutor();
}, 60_000);
afterEach(() => workers.splice(0).forEach((worker) => worker.terminate()));
afterAll(async () => {
  await world.stop();
  await stopSharedServers();
});

async function connect(hello: RawWorkerOptions['hello'], apiKey = world.ours.apiKey): Promise<RawWorker> {
  const worker = await connectRawWorker({ url: executor.url, apiKey, hello });
  workers.push(worker);
  return worker;
}

describe('a worker', () => {
  test('with a key that nobody has is not let in', async () => {
    await expect(connect(false, 'nonsense')).rejects.toThrow('401');
    await expect(connect(false, createApiKey(Buffer.alloc(32, 7)))).rejects.toThrow('401');
  });

  test.each([
    ['of an app that is not registered', { appId: 'unknown' }, 'app_not_registered'],
    ['of an app with a URL', { appId: 'shop' }, 'app_is_push'],
    ['that pins runs to no build', { appId: 'fleet', pinRuns: true }, 'build_id_missing'],
    ['of another version of the protocol', { appId: 'fleet', v: 99 }, 'protocol_unsupported'],
  ])('%s is refused with a code, and the connection closed', async (_name, hello, code) => {
    const worker = await connect(hello);
    expect(await worker.next('refused')).toMatchObject({ code });
    expect(await worker.closed()).toEqual({ code: 1008, reason: code });
  });

  test('of one build more than an app may have is refused; those of its builds and of none are not', async () => {
    await world.register(world.ours.scope, { id: 'many' }, { many: {} });
    const hello = (buildId: string) => ({ appId: 'many', buildId });
    for (let build = 0; build < limits.buildsPerAppMax; build += 1) {
      const worker = await connect(hello(`b${build}`));
      await worker.next('welcome');
      // Gone or not, what was made for it stays for a while.
      if (build % 2 === 0) worker.terminate();
    }
    const beyond = await connect(hello('beyond'));
    expect(await beyond.next('refused')).toMatchObject({ code: 'too_many_builds' });
    expect(await beyond.closed()).toEqual({ code: 1008, reason: 'too_many_builds' });
    for (const one of [hello('b0'), hello('b1'), { appId: 'many' }])
      await (await connect(one)).next('welcome');
  }, 60_000);

  test('of an app of another environment is refused: it is not registered in the key’s', async () => {
    const worker = await connect({ appId: 'fleet' }, world.theirs.apiKey);
    expect(await worker.next('refused')).toMatchObject({ code: 'app_not_registered' });
  });

  test('that says nothing is sent away', async () => {
    const worker = await connect(false);
    expect(await worker.closed()).toEqual({ code: 1008, reason: 'no hello' });
  });

  test.each([
    ['is no JSON', '{'],
    ['is no array', '{"type":"hello"}'],
    ['breaks the protocol', '[{"type":"record","runId":"1"}]'],
  ])('whose frame %s is sent away', async (_name, text) => {
    const worker = await connect({ appId: 'fleet' });
    await worker.next('welcome');
    worker.sendText(text);
    expect(await worker.next('refused')).toMatchObject({ code: 'protocol_violated' });
    expect(await worker.closed()).toMatchObject({ code: 1008 });
  });

  test('may say what only a newer version knows', async () => {
    const worker = await connect({ appId: 'fleet' });
    await worker.next('welcome');
    worker.send({ type: 'from-the-future' }, { type: 'hello', v: 1, sdk: 's', appId: 'fleet', slots: 1 });
    const { scope } = world.ours;
    const run = await world.createRun({ scope, appId: 'fleet', functionId: 'work', mode: 'pull' });
    await world.activate(run);
    worker.send(end(await worker.next('activate')));
    await eventually(async () =>
      expect(await world.entries(run)).toMatchObject([{ run: { kind: 'completed' } }]),
    );
    expect(worker.received.map(({ type }) => type)).toEqual(['welcome', 'activate']);
  });

  test('that leaves while its hello is being checked gets no runs', async () => {
    await eventually(async () => expect(await connections()).toBe(0));
    for (let round = 0; round < 20; round += 1) {
      const worker = await connect({ appId: 'fleet' });
      await new Promise((resolve) => setImmediate(resolve));
      worker.terminate();
    }
    await eventually(async () => expect(await connections()).toBe(0));
    const presence = world.jetstream.bucket('SYS_workers');
    await eventually(async () => {
      const keys = await presence.keys();
      expect(keys.filter((key) => key.startsWith(world.ours.scope.environmentId))).toEqual([]);
    });
  });

  test('that resets its connection while its key is being checked takes nobody along', async () => {
    const { port } = new URL(executor.url);
    for (let round = 0; round < 20; round += 1) {
      // A key that was not seen before: to be looked for in the database.
      const key = createApiKey(Buffer.alloc(32, round + 50));
      const socket = connectTcp(Number(port), '127.0.0.1');
      await new Promise<void>((resolve) => socket.once('connect', resolve));
      const head = 'GET /v1/workers HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
      const rest = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
      await new Promise((resolve) =>
        socket.write(`${head}${rest}Authorization: Bearer ${key}\r\n\r\n`, resolve),
      );
      if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      socket.resetAndDestroy();
    }
    const worker = await connect({ appId: 'fleet' });
    await worker.next('welcome');
  });
});

async function connections(): Promise<number> {
  return Number(/worker_connections\S* (\d+)/.exec(await executor.metrics())?.[1] ?? 0);
}

test('a worker is let go within a second of the end of its key, and one of another key is not', async () => {
  const { environmentId } = world.ours.scope;
  const keys = createApiKeyStore(world.database, world.secrets);
  const made = await keys.create(environmentId, {
    name: 'worker',
    role: 'developer',
    scopes: ['workers:connect'],
  });
  const worker = await connect({ appId: 'fleet' }, made.key);
  await worker.next('welcome');
  const other = await connect({ appId: 'fleet' });
  await other.next('welcome');
  await keys.revoke(environmentId, made.id);
  const revokedAtMs = performance.now();
  world.jetstream.notices.publishAccess({ environmentId });
  expect(await worker.next('refused')).toMatchObject({ code: 'key_revoked' });
  expect(await worker.closed()).toEqual({ code: 1008, reason: 'key_revoked' });
  expect(performance.now() - revokedAtMs).toBeLessThan(1_000);
  await expect(connect(false, made.key)).rejects.toThrow('401');
  expect(await connections()).toBe(1);
});

test('a key that may do all but connect workers connects none', async () => {
  const keys = createApiKeyStore(world.database, world.secrets);
  const made = await keys.create(world.ours.scope.environmentId, {
    name: 'reader',
    role: 'admin',
    scopes: ['runs:read'],
  });
  await expect(connect(false, made.key)).rejects.toThrow('403');
});
